/// The places of worker threads and of this process.
///
/// Runs in a worker. Written by the worker's loop, read by tasks.
#include <libpool/this_worker.hpp>

#include <atomic>

#include <libpool/ring/progress_word.hpp>

namespace libpool {
namespace detail {
namespace {

thread_local WorkerPlace place_of_thread;

constinit std::atomic<std::size_t> process_worker{WorkerPlace::none};
constinit ring::TaskIndex process_task;

std::optional<std::size_t> known(std::size_t number) noexcept {
  if (number == WorkerPlace::none) return std::nullopt;
  return number;
}

}  // namespace

WorkerPlace& thread_place() noexcept { return place_of_thread; }

void become_process_worker(std::size_t index) noexcept {
  place_of_thread = {};
  process_worker.store(index);
  process_task.set(ring::TaskIndex::none);
}

ring::TaskIndex& process_task_index() noexcept { return process_task; }

}  // namespace detail

std::optional<std::size_t> this_worker::index() noexcept {
  const auto& place = detail::place_of_thread;
  if (place.worker != detail::WorkerPlace::none) return place.worker;
  return detail::known(detail::process_worker.load());
}

std::optional<std::size_t> this_worker::task_index() noexcept {
  const auto& place = detail::place_of_thread;
  if (place.worker != detail::WorkerPlace::none) return detail::known(place.task);
  return detail::known(detail::process_task.get());
}

}  // namespace libpool
