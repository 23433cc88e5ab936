/// What a task can ask about where it runs.
///
/// Runs in a worker: in a process of a `ProcessPool` or a thread of a `ThreadPool`. The worker's
/// loop keeps the answers up to date; they die with it.
#pragma once

#include <cstddef>
#include <limits>
#include <optional>

#include <libpool/detail/export.hpp>

namespace libpool {

namespace ring {
class TaskIndex;
}

namespace this_worker {

/// The number of this worker in its pool, 0 to size - 1; a replacement has the number of the one it
/// replaces. Nothing outside a worker. Thread-safe.
[[nodiscard]] LIBPOOL_EXPORT std::optional<std::size_t> index() noexcept;

/// The place in its batch of the task that runs now (0 for `apply`). Nothing outside a task.
/// Thread-safe.
[[nodiscard]] LIBPOOL_EXPORT std::optional<std::size_t> task_index() noexcept;

}  // namespace this_worker

namespace detail {

/// Where a thread of a ThreadPool is. One of each thread; nobody else writes it.
struct WorkerPlace {
  static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();
  std::size_t worker = none;
  std::size_t task = none;
};

/// The calling thread's. A loop may keep the reference, which lives as long as the thread.
[[nodiscard]] LIBPOOL_EXPORT WorkerPlace& thread_place() noexcept;

/// Makes this process worker `index`: for all its threads but those of thread pools of its own.
/// Whatever place the calling thread had before the fork is forgotten.
LIBPOOL_EXPORT void become_process_worker(std::size_t index) noexcept;

/// Names the item that this worker process runs now, or ran last.
[[nodiscard]] LIBPOOL_EXPORT ring::TaskIndex& process_task_index() noexcept;

}  // namespace detail
}  // namespace libpool
