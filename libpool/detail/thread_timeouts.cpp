/// Timeouts in a thread pool: the outcome is decided, the thread runs on, and another takes its
/// place.
///
/// Runs in the parent, on the timekeeper's thread, which exists once a batch has a timeout.
#include <algorithm>
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
    auto ended = std::exchange(ended_, {});
    if (!ended.empty()) {
      lock.unlock();
      ended.clear();  // joins threads that are returning
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
std::optional<Clock::time_point> ThreadCore::take_away_overdue(std::unique_lock<std::mutex>& lock) {
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
/// place free.
void ThreadCore::take_away(std::size_t number, std::unique_lock<std::mutex>& lock) {
  const auto worker = std::exchange(workers_[number], nullptr);
  overdue_.push_back(worker);
  if (!workers_end()) retry_at_ = Clock::time_point::min();
  ThreadChunk chunk = *worker->current;
  const std::size_t index = worker->item;
  const std::size_t item = index - chunk.first_index;
  const std::size_t rest = chunk.end - item - 1;
  counts_.running.fetch_sub(rest + 1);
  counts_.timed_out.fetch_add(1);
  counts_.lost.fetch_add(1);
  if (terminated_ || broken_) {
    counts_.cancelled.fetch_add(rest);
  } else if (rest != 0) {
    counts_.queued.fetch_add(rest);
    ++chunk.job->chunks;
    queue_.push_front({chunk.job, chunk.items, chunk.first_index, item + 1, chunk.end});
    work_.notify_one();
  }
  lock.unlock();
  const auto what = "libpool: item " + std::to_string(index) + " passed its timeout";
  chunk.job->batch().fail(index, std::make_exception_ptr(TaskTimeout(what, index)));
  finish_chunk(*chunk.job);
  chunk = {};  // user code may run
  lock.lock();
}

/// Starts threads in the places of overdue ones. Where the system has none left, it is tried again,
/// as often as the restart intensity allows.
void ThreadCore::start_missing(std::unique_lock<std::mutex>& lock, Clock::time_point now) {
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
      broken_ = std::make_exception_ptr(
          PoolBroken("libpool: no more threads can be started", std::current_exception()));
      end_all(std::move(lock), std::exception_ptr(broken_), false);
      lock = std::unique_lock(mutex_);
      return;
    }
  }
}

/// The last thing that an overdue thread does.
void ThreadCore::leave_overdue(const std::shared_ptr<ThreadWorker>& self) {
  std::lock_guard lock(mutex_);
  std::erase(overdue_, self);
  if (self->thread.joinable()) ended_.push_back(std::move(self->thread));
  deadlines_.notify_one();
}

}  // namespace libpool::detail
