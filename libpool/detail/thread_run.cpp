/// Counting and timing of one chunk's run.
///
/// Runs in the parent, on a worker thread. The lock `timing` decides between an item's own end and
/// its timeout.
#include <libpool/detail/thread_run.hpp>

namespace libpool::detail {

void ThreadRun::begin_timed(std::size_t index) noexcept {
  const auto deadline = saturating_after<Clock>(Clock::now(), batch_.terms().timeout);
  {
    std::lock_guard lock(worker_.timing);
    worker_.item = index;
    worker_.deadline = deadline;
  }
  timekeeper_.expect(deadline);
}

bool ThreadRun::finish_timed() noexcept {
  std::lock_guard lock(worker_.timing);
  worker_.deadline.reset();
  taken_away_ = worker_.overtime;
  return !taken_away_;
}

void ThreadRun::count(std::size_t succeeded, std::size_t failed) noexcept {
  // In this order an item that `stats` sees ended it does not see running.
  counts_.running.fetch_sub(succeeded + failed);
  if (succeeded != 0) counts_.succeeded.fetch_add(succeeded);
  if (failed != 0) counts_.failed.fetch_add(failed);
  worker_.tasks_done.fetch_add(succeeded + failed);
}

void ThreadRun::count_one(ItemEnd end) noexcept {
  const bool succeeded = end == ItemEnd::succeeded;
  count(succeeded ? 1 : 0, succeeded ? 0 : 1);
  ++counted_;
}

void ThreadRun::settle(std::size_t items) noexcept {
  place_.task = WorkerPlace::none;
  if (taken_away_) return;  // the timekeeper has counted the rest
  const std::size_t ended = succeeded_ + failed_;
  const std::size_t dropped = items - ended - counted_;
  if (ended != 0) count(succeeded_, failed_);
  if (dropped != 0) {
    counts_.running.fetch_sub(dropped);
    counts_.cancelled.fetch_add(dropped);
  }
  // Last: it may wake somebody who looks at the counts.
  if (ended != 0) batch_.settled(ended);
}

}  // namespace libpool::detail
