/// What a fork server knows of one worker.
///
/// Private memory of the fork server, one for each number of the pool, and gone with it.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include <libpool/detail/file_descriptor.hpp>

namespace libpool::worker {

/// What came of a fork: an error, a process that is being killed because of one, or a worker.
struct Forked {
  int error = 0;
  pid_t pid = 0;
  detail::FileDescriptor pidfd;
  detail::FileDescriptor socket;  ///< the parent's end
};

/// One worker's place in the table: at most one process, the reports still owed about it, and at
/// most one start asked for. A later start waits until the process runs no more and all is
/// reported, so that reports of two generations never mix.
struct Place {
  pid_t pid = 0;     ///< 0: no process, or it is as good as dead
  pid_t ending = 0;  ///< one that was here, runs no more, and is not yet reaped; 0: none
  std::uint32_t generation = 0;
  detail::FileDescriptor pidfd;   ///< with `socket`, until the spawned report has carried them away
  detail::FileDescriptor socket;  ///< the parent's end
  pid_t reported_pid = 0;
  int error = 0;  ///< why the start failed
  int code = 0;
  int status = 0;
  bool owes_spawned = false;
  bool owes_fork_failed = false;
  bool owes_exited = false;
  bool start_wanted = false;
  std::uint32_t wanted_generation = 0;

  [[nodiscard]] bool owes() const noexcept {
    return owes_spawned || owes_fork_failed || owes_exited;
  }
  [[nodiscard]] bool startable() const noexcept { return start_wanted && pid == 0 && !owes(); }
};

}  // namespace libpool::worker
