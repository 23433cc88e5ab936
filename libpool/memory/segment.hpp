/// Anonymous shared memory: memfds reserved page by page, mapped through Boost.Interprocess.
///
/// Created by the parent, mapped again by workers. Nothing has a name, so whatever dies, the kernel
/// frees all of it with the last process that maps it.
#pragma once

#include <boost/interprocess/mapped_region.hpp>
#include <cstddef>

#include <libpool/detail/file_descriptor.hpp>

namespace libpool::memory {

/// A range mapped into this process; unmapped when it dies. Move-only.
using Mapping = boost::interprocess::mapped_region;

/// A memfd. Memory is reserved before it is touched, so that a lack of it is an error here and
/// never a SIGBUS later.
class MemoryFile {
 public:
  /// A file of `size` bytes of which none is reserved yet. Throws `std::system_error`
  /// (`memfd_create`, `ftruncate`).
  static MemoryFile create(const char* label, std::size_t size);

  /// Reserves the range. Throws `std::system_error` (`fallocate`).
  void reserve(std::size_t offset, std::size_t bytes);

  /// Gives back what lies beyond `size`, which no mapping may touch any more. Throws
  /// `std::system_error` (`ftruncate`).
  void shrink(std::size_t size);

  /// From now on the size is fixed and no new mapping can write; mappings made before still can.
  /// Throws `std::system_error` (`fcntl`).
  void seal();

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  MemoryFile(detail::FileDescriptor fd, std::size_t size) noexcept
      : fd_(std::move(fd)), size_(size) {}
  detail::FileDescriptor fd_;
  std::size_t size_;
};

enum class Access { read_only, read_write };

/// Maps a range of the file of `fd` into this process. Throws
/// `boost::interprocess::interprocess_exception`, turned into `std::system_error`.
[[nodiscard]] Mapping map(int fd, std::size_t offset, std::size_t bytes, Access access);

/// Keeps the mapping out of processes forked from here on: in the parent, so that children cannot
/// write through it despite the seal; in a worker, so that what a task forks cannot write after the
/// worker's death.
void keep_from_children(const Mapping& region);

[[nodiscard]] inline std::byte* address(const Mapping& region) noexcept {
  return static_cast<std::byte*>(region.get_address());
}

}  // namespace libpool::memory
