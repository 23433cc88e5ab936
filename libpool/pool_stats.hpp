/// What a pool counts. Snapshots are made in the parent; a worker's death changes counts and loses
/// none.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <vector>

namespace libpool {

/// One live worker. On `ThreadPool`, `pid` is the thread's id.
struct WorkerStats {
  pid_t pid = 0;
  std::uint64_t tasks_done = 0;           ///< outcomes that came from this worker
  std::chrono::nanoseconds busy_time{0};  ///< time spent on chunks, by the monotonic clock
};

/// A snapshot of a pool; counts are totals since its construction unless said otherwise.
struct PoolStats {
  std::uint64_t submitted = 0;  ///< items taken from inputs
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;   ///< items whose function or codec threw
  std::uint64_t crashed = 0;  ///< items that were blamed for a worker's death
  std::uint64_t timed_out = 0;
  std::uint64_t cancelled = 0;  ///< items dropped by `cancel()`, `terminate()` or a broken pool
  std::uint64_t retried = 0;    ///< attempts after a crash
  std::uint64_t workers_spawned = 0;
  std::uint64_t workers_lost =
      0;  ///< deaths that nobody asked for, or that a timeout or a cancel asked for
  std::uint64_t queued = 0;            ///< items now waiting
  std::uint64_t running = 0;           ///< items now in chunks that workers hold
  std::vector<WorkerStats> workers{};  ///< the workers alive now
};

}  // namespace libpool
