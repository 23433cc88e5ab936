/// The places of worker threads and of this process.
///
/// Runs in a worker. Written by the worker's loop, read by tasks.
#include <libpool/this_worker.hpp>

#include <atomic>

namespace libpool {
namespace detail {
namespace {

thread_local WorkerPlace place_of_thread;

// A task's own thread reads what it wrote; other threads of it only need some value.
constinit std::atomic<std::size_t> process_worker{WorkerPlace::none};
constinit std::atomic<std::size_t> process_task{WorkerPlace::none};

std::optional<std::size_t> known(std::size_t number) noexcept {
  if (number == WorkerPlace::none) return std::nullopt;
  return number;
}

}  // namespace

WorkerPlace& thread_place() noexcept { return place_of_thread; }

void become_process_worker(std::size_t index) noexcept {
  place_of_thread = {};
  process_worker.store(index);
  process_task.store(WorkerPlace::none);
}

void set_process_task(std::size_t task) noexcept { process_task.store(task); }

}  // namespace detail

std::optional<std::size_t> this_worker::index() noexcept {
  const auto& place = detail::place_of_thread;
  if (place.worker != detail::WorkerPlace::none) return place.worker;
  return detail::known(detail::process_worker.load());
}

std::optional<std::size_t> this_worker::task_index() noexcept {
  const auto& place = detail::place_of_thread;
  if (place.worker != detail::WorkerPlace::none) return detail::known(place.task);
  return detail::known(detail::process_task.load());
}

}  // namespace libpool
