/// Timeouts in a thread pool: the outcome is decided, the thread runs on, and another takes its
/// place.
///
/// Runs in the parent, on the timekeeper's thread, which exists once a batch has a timeout.
#include <algorithm>
#include <new>
#include <string>
#include <utility>

#include <libpool/detail/thread_core.hpp>
#include <libpool/errors.hpp>

namespace libpool::detail {
namespace {

constexpr Clock::rep never = Clock::time_point::max().time_since_epoch().count();

}  // namespace

void ThreadCore::expect(Clock::time_point deadline) noexcept {
  // The timekeeper says `never` before it looks at deadlines and what it sleeps for after it, so
  // that one it has not seen is earlier than what is read here. All of these are sequentially
  // consistent or under `timing`.
  if (deadline.time_since_epoch().count() >= next_wake_.load()) return;
  std::lock_guard lock(mutex_);
  deadlines_.notify_one();
}

void ThreadCore::keep_time() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    next_wake_.store(never);
    start_missing(lock, Clock::now());
    const auto deadline = take_away_overdue(lock);
    if (!deadline) continue;  // the lock was given up: look again
    const auto earliest = std::min(*deadline, retry_at_);
    next_wake_.store(earliest.time_since_epoch().count());
    if (!ended_.empty()) {
      std::jthread ended = std::move(ended_.pop_front()->thread);
      lock.unlock();
      ended.join();  // it is returning
      lock.lock();
      continue;
    }
    if (earliest == Clock::time_point::max()) {
      deadlines_.wait(lock);
    } else {
      deadlines_.wait_until(lock, earliest);
    }
  }
}

/// The earliest deadline of all; nothing if one has passed, and its item was timed out.
std::optional<Clock::time_point> ThreadCore::take_away_overdue(
    std::unique_lock<std::mutex>& lock) noexcept {
  auto earliest = Clock::time_point::max();
  for (std::size_t index = 0; index < workers_.size(); ++index) {
    if (!workers_[index]) continue;
    {
      std::lock_guard timing(workers_[index]->timing);
      const auto deadline = workers_[index]->deadline;
      if (!deadline) continue;
      if (*deadline > Clock::now()) {
        earliest = std::min(earliest, *deadline);
        continue;
      }
      workers_[index]->overtime = true;
      workers_[index]->deadline.reset();
    }
    take_away(index, lock);
    return std::nullopt;
  }
  return earliest;
}

/// The worker is in overtime: settles its item, queues the rest of its chunk again, and makes its
/// place free. Without memory for that, the job ends with that.
void ThreadCore::take_away(std::size_t number, std::unique_lock<std::mutex>& lock) noexcept {
  const auto worker = std::exchange(workers_[number], nullptr);
  overdue_.push_back(worker);
  if (!workers_end()) retry_at_ = Clock::time_point::min();
  const ThreadChunk& chunk = *worker->current;
  std::shared_ptr<ThreadJob> job = chunk.job;
  const std::size_t index = worker->item;
  const std::size_t next = index - chunk.first_index + 1;
  const std::size_t left = chunk.end - next;
  Chunk rest;
  std::exception_ptr error;
  bool lacks_memory = false;
  try {
    const auto what = "libpool: item " + std::to_string(index) + " passed its timeout";
    error = std::make_exception_ptr(TaskTimeout(what, index));
    rest.reset(new ThreadChunk{job, chunk.items, chunk.first_index, next, chunk.end});
  } catch (const std::bad_alloc&) {
    error = std::current_exception();
    lacks_memory = true;
  }
  counts_.running.fetch_sub(left + 1);
  counts_.timed_out.fetch_add(1);
  counts_.lost.fetch_add(1);
  if (terminated_ || broken_ || lacks_memory) {
    counts_.cancelled.fetch_add(left);
  } else if (left != 0) {
    counts_.queued.fetch_add(left);
    ++job->chunks;
    queue_.push_front(std::move(rest));
    work_.notify_one();
  }
  lock.unlock();
  if (lacks_memory) {
    job->batch().abandon(error, false);
  } else {
    job->batch().fail(index, error);
  }
  finish_chunk(*job);
  rest = nullptr;  // user code may run
  job = nullptr;
  lock.lock();
}

/// Starts threads in the places of overdue ones. Where the system has none left, it is tried again,
/// as often as the restart intensity allows.
void ThreadCore::start_missing(std::unique_lock<std::mutex>& lock, Clock::time_point now) noexcept {
  if (retry_at_ > now) return;
  retry_at_ = Clock::time_point::max();
  if (workers_end()) return;
  for (std::size_t index = 0; index < workers_.size(); ++index) {
    if (workers_[index]) continue;
    try {
      start_worker(index);
    } catch (...) {
      if (const auto retry = restarts_.failed(now)) {
        retry_at_ = *retry;
        return;
      }
      break_pool(lock, "libpool: no more threads can be started", std::current_exception());
      return;
    }
  }
}

/// The last thing that an overdue thread does.
void ThreadCore::leave_overdue(const std::shared_ptr<ThreadWorker>& self) noexcept {
  std::lock_guard lock(mutex_);
  static_cast<void>(
      overdue_.take_if([&](const ThreadWorker& worker) { return &worker == self.get(); }));
  if (self->thread.joinable()) ended_.push_back(self);
  deadlines_.notify_one();
}

}  // namespace libpool::detail
