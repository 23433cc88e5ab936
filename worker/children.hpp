/// The children of a server, as the kernel lists them: workers, and orphans that the server has
/// adopted.
///
/// Runs in fork servers and the prefork root. A process forked by a task belongs to no table; when
/// the worker that it came from dies, it becomes a child of the fork server, which is its
/// subreaper, and is found here. If the server is killed, the next subreaper inherits it: the root,
/// else the machine's init.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>

#include <libpool/detail/file_descriptor.hpp>
#include <libpool/detail/system.hpp>

namespace libpool::worker {

class Children {
 public:
  /// Opens the list now, because later the process may be out of descriptors.
  Children() noexcept;

  /// Calls `visit(pid)` for each child, zombies too; returns how many there are, or -1 if the list
  /// cannot be read (no /proc, or that of another namespace). Children that come and go meanwhile
  /// may be missed.
  template <class Visit>
  int visit(Visit visit) const noexcept;

  /// Kills and reaps all children, and the orphans that come of it, until none is left. Where the
  /// list cannot be read and there are children, kills the whole process group, and with it the
  /// caller. A child that may not be killed, because it has become another user, is left behind.
  void end_all() const noexcept;

  /// Reaps one dead child if there is one: its pid and how it ended, else a pid of 0.
  [[nodiscard]] static siginfo_t reap() noexcept;

  /// Waits for the death of this child and reaps it.
  static void reap(pid_t child) noexcept;

  /// How a child ends that runs no instruction any more, but is not yet dead to `reap`: its pid,
  /// `si_code` and `si_status`. A pid of 0 if it may still run, if it has other threads, or if the
  /// kernel does not tell, as of one that exits with status 0.
  [[nodiscard]] siginfo_t ending(pid_t child) const noexcept;

 private:
  [[nodiscard]] static bool any() noexcept;

  detail::FileDescriptor list_;
};

template <class Visit>
int Children::visit(Visit visit) const noexcept {
  std::array<char, 1024> text;
  off_t offset = 0;
  pid_t pid = 0;
  int count = 0;
  for (;;) {
    const ssize_t bytes = detail::retry_interrupted(
        [&] { return detail::system_calls.pread(list_.get(), text.data(), text.size(), offset); });
    if (bytes < 0) return -1;
    if (bytes == 0) return count;
    offset += bytes;
    for (ssize_t i = 0; i < bytes; ++i) {
      const char digit = text[static_cast<std::size_t>(i)];
      if (digit >= '0' && digit <= '9') {
        pid = pid * 10 + (digit - '0');
        continue;
      }
      // Every number ends with a space, so a number cut by the buffer's end is never taken for a
      // pid.
      if (pid != 0) {
        visit(pid);
        ++count;
      }
      pid = 0;
    }
  }
}

}  // namespace libpool::worker
