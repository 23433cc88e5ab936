/// Owned descriptors, and the register of all that the library has open.
///
/// Used in the parent, where pools own descriptors, and in forked processes, which close every
/// registered descriptor that they were not given: close-on-exec doesn't help a child that never
/// execs. A death closes them all; nothing is left behind.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include <libpool/detail/system.hpp>

namespace libpool::detail {

/// Sole owner of a descriptor; registered while it owns one. Not thread-safe.
class FileDescriptor {
 public:
  FileDescriptor() noexcept = default;

  /// Takes over `fd`; a negative one means none. Prefer `create_descriptor`, without which a pool
  /// that another thread is starting may take `fd` along before it is registered.
  explicit FileDescriptor(int fd) noexcept;

  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() { reset(); }

  /// -1 if there is none.
  [[nodiscard]] int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

  /// Closes the descriptor, if there is one. Leaves `errno` alone.
  void reset() noexcept;

  /// Forgets the descriptor without closing it: for a copy of this object in a forked process,
  /// where the number may have come to mean something else.
  void abandon() noexcept { fd_ = -1; }

 private:
  int fd_ = -1;
};

/// While one lives, no other thread of the process creates or closes a descriptor of the library or
/// forks a server. Not recursive, so no `FileDescriptor` may end under it. What is done under it
/// must not wait.
class DescriptorLock {
 public:
  DescriptorLock() noexcept;
  DescriptorLock(const DescriptorLock&) = delete;
  DescriptorLock& operator=(const DescriptorLock&) = delete;
  ~DescriptorLock();

  /// For a process just forked: makes the lock free, whoever held it in the process it was forked
  /// from.
  static void forget_after_fork() noexcept;
};

/// Owns what `create()`, a system call that makes a descriptor, returns, so that no server forked
/// at the same time inherits it unregistered. Owns nothing, with `errno`, if the call fails. For
/// processes that must not throw; elsewhere `create_descriptor`.
template <class Create>
[[nodiscard]] FileDescriptor try_create_descriptor(Create create) noexcept;

/// The same for a call that fills an array of two: `pipe2`, `socketpair`. Both or none.
template <class Create>
[[nodiscard]] std::pair<FileDescriptor, FileDescriptor> try_create_descriptors(
    Create create) noexcept;

/// As above, but throws a `std::system_error` that names `call` if it fails.
template <class Create>
[[nodiscard]] FileDescriptor create_descriptor(const char* call, Create create) {
  FileDescriptor created = try_create_descriptor(std::move(create));
  if (!created) throw_system_error(call);
  return created;
}

template <class Create>
[[nodiscard]] std::pair<FileDescriptor, FileDescriptor> create_descriptors(const char* call,
                                                                           Create create) {
  auto created = try_create_descriptors(std::move(create));
  if (!created.first) throw_system_error(call);
  return created;
}

/// Enters a descriptor that no `FileDescriptor` owns. Async-signal-safe.
void register_descriptor(int fd) noexcept;

/// Closes every registered descriptor that is not in `kept`, which stay registered. For a process
/// just forked, single-threaded. Async-signal-safe.
void close_registered_except(std::span<const int> kept) noexcept;

/// Descriptors 0 to 2 mean the standard streams to everybody else, even in a program that has
/// closed them: gives the new descriptor a number above them, or returns -1 with `errno`.
[[nodiscard]] int above_standard_streams(int fd) noexcept;

template <class Create>
FileDescriptor try_create_descriptor(Create create) noexcept {
  const DescriptorLock lock;
  return FileDescriptor{above_standard_streams(create())};
}

template <class Create>
std::pair<FileDescriptor, FileDescriptor> try_create_descriptors(Create create) noexcept {
  std::pair<FileDescriptor, FileDescriptor> created;
  {
    const DescriptorLock lock;
    int ends[2] = {-1, -1};
    if (create(ends) != 0) return created;
    created.first = FileDescriptor{above_standard_streams(ends[0])};
    created.second = FileDescriptor{above_standard_streams(ends[1])};
  }
  if (!created.first || !created.second) created = {};
  return created;
}

}  // namespace libpool::detail
