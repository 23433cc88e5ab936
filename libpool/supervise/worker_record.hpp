/// What the parent knows of one worker.
///
/// Private memory of the parent, guarded by the core's mutex. A worker's things are given to the
/// next owner of its index only after its death notice.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <vector>

#include <libpool/detail/file_descriptor.hpp>
#include <libpool/ring/result_ring.hpp>

namespace libpool::supervise {

/// How a process ended: exactly one of the two.
struct ExitStatus {
  std::optional<int> signal;
  std::optional<int> status;
};

struct WorkerRecord {
  enum class State : std::uint8_t {
    absent,     ///< none; one may be due at `respawn_at`
    requested,  ///< the fork server has been asked
    alive,      ///< no death notice yet
    fallen,     ///< dead, and not buried before all others are, see `Supervisor::begin_reset`
  };

  State state = State::absent;
  std::uint32_t generation = 0;  ///< tells the reports of successive owners of an index apart
  pid_t pid = 0;
  ExitStatus exit;  ///< once it is dead
  detail::FileDescriptor pidfd;
  detail::FileDescriptor socket;  ///< the parent's end
  detail::FileDescriptor ending;  ///< pidfd of a predecessor that the kernel still takes apart
  ring::ResultReader reader;
  std::uint64_t settled = 0;  ///< outcomes that came from it
  std::uint64_t busy = 0;     ///< ns, by its word, that its jobs have been charged with
  std::uint32_t bundle = 0;   ///< ticket in its remainder word when that was looked at last
  std::chrono::steady_clock::time_point bundle_seen{};  ///< there for the first time
  bool lingers = false;  ///< runs no more and has `exit`, but holds what it had open
  bool doomed = false;  ///< killed by us for an item that has its outcome: nothing else is to blame
  bool corrupt = false;                 ///< broke the protocol: its ring is not read any more
  std::vector<std::byte> failed_start;  ///< what its initializer threw, encoded, so far
  std::exception_ptr start_error;  ///< why it failed to start, where known better than by its exit
  std::optional<std::chrono::steady_clock::time_point> respawn_at;
};

}  // namespace libpool::supervise
