/// The worker threads of a thread pool: start, loop, replacement, end.
///
/// Runs in the parent, on the worker threads. A crash in a task is the program's.
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <new>
#include <utility>

#include <libpool/detail/thread_core.hpp>
#include <libpool/errors.hpp>

namespace libpool::detail {

void ThreadCore::start() {
  try {
    std::lock_guard lock(mutex_);
    for (std::size_t index = 0; index < size_; ++index) start_worker(index);
  } catch (...) {
    terminate();
    join();
    throw;
  }
}

/// Called with the lock. Throws `std::system_error` or `std::bad_alloc`, having changed nothing.
void ThreadCore::start_worker(std::size_t index) {
  auto worker = std::make_shared<ThreadWorker>(index);
  worker->thread = std::jthread([this, worker] { work(worker); });
  workers_[index] = std::move(worker);
  counts_.spawned.fetch_add(1);
}

void ThreadCore::work(const std::shared_ptr<ThreadWorker>& self) {
  std::jthread predecessor;
  {
    std::lock_guard lock(mutex_);
    predecessor.swap(self->predecessor);
  }
  if (predecessor.joinable()) predecessor.join();
  self->id.store(gettid());
  thread_place().worker = self->index;
  if (!initialize()) return;

  constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();
  std::size_t tasks_left = options_.max_tasks_per_child.value_or(unlimited);
  while (auto chunk = next_chunk(tasks_left)) {
    if (!run_chunk(*self, *chunk)) return leave_overdue(self);
    finish_chunk(*chunk->job);
    if (tasks_left != unlimited) tasks_left -= std::min(chunk->size(), tasks_left);
    if (tasks_left != 0) continue;
    if (replace(self)) return;
    tasks_left = *options_.max_tasks_per_child;
  }
}

/// Runs the initializer until it succeeds; false if the pool ends meanwhile, or is broken by this.
bool ThreadCore::initialize() {
  while (true) {
    std::exception_ptr error;
    try {
      // A copy, as a process would have: threads must not share the state of a mutable function
      // object.
      if (const auto initializer = options_.initializer) initializer();
      return true;
    } catch (...) {
      error = std::current_exception();
    }
    counts_.lost.fetch_add(1);
    std::unique_lock lock(mutex_);
    if (workers_end()) return false;
    const std::uint64_t resolved =
        counts_.succeeded.load() + counts_.failed.load() + counts_.timed_out.load();
    if (std::exchange(resolved_before_, resolved) != resolved) restarts_.resolved();
    const auto retry_at = restarts_.failed(Clock::now());
    if (!retry_at) {
      break_pool(lock, "libpool: the workers' initializer keeps failing", error);
      return false;
    }
    if (pause_.wait_until(lock, *retry_at, [this] { return workers_end(); })) return false;
    counts_.spawned.fetch_add(1);  // as a process pool would, though the thread is the same
  }
}

/// Waits for a chunk of at most `tasks_left` items; nothing when the workers end.
ThreadCore::Chunk ThreadCore::next_chunk(std::size_t tasks_left) {
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_;
    work_.wait(lock, [this] { return !queue_.empty() || workers_end(); });
    --idle_;
    if (queue_.empty()) return nullptr;
    Chunk chunk = take_chunk(tasks_left);
    Batch& batch = chunk->job->batch();
    if (batch.terms().feeding != Feeding::at_submit || batch.claim_start()) {
      counts_.queued.fetch_sub(chunk->size());
      counts_.running.fetch_add(chunk->size());
      return chunk;
    }
    // Cancelled in the queue, and counted there.
    lock.unlock();
    finish_chunk(*chunk->job);
    chunk = nullptr;
    lock.lock();
  }
}

/// The front of the queue, or the first `tasks_left` items of it. Called with the lock.
ThreadCore::Chunk ThreadCore::take_chunk(std::size_t tasks_left) noexcept {
  ThreadChunk& front = *queue_.front();
  if (front.size() <= tasks_left) return queue_.pop_front();
  const std::size_t end = front.begin + tasks_left;
  try {
    Chunk part(new ThreadChunk{front.job, front.items, front.first_index, front.begin, end});
    front.begin = end;
    ++part->job->chunks;
    if (idle_ != 0) work_.notify_one();
    return part;
  } catch (const std::bad_alloc&) {
    return queue_.pop_front();  // a thread that gets older than it should, rather than none
  }
}

/// False if the worker was replaced meanwhile: the chunk is no more its own.
bool ThreadCore::run_chunk(ThreadWorker& self, const ThreadChunk& chunk) noexcept {
  const auto show = [&](const ThreadChunk* current) {
    std::lock_guard lock(mutex_);
    self.current = current;
  };
  ThreadRun run(chunk.job->batch(), self, counts_, *this);
  if (run.timed()) show(&chunk);
  const auto begin = Clock::now();
  chunk.job->run(chunk, run);
  self.busy.fetch_add((Clock::now() - begin).count());
  if (run.timed()) show(nullptr);
  run.settle(chunk.size());
  return !run.taken_away();
}

/// Starts the thread that comes after this one, which then returns. False if it cannot be started:
/// this one goes on.
bool ThreadCore::replace(const std::shared_ptr<ThreadWorker>& self) noexcept {
  std::lock_guard lock(mutex_);
  if (workers_end()) return false;
  std::shared_ptr<ThreadWorker> successor;
  try {
    successor = std::make_shared<ThreadWorker>(self->index);
    successor->thread = std::jthread([this, successor] { work(successor); });
  } catch (...) {
    return false;
  }
  // It waits for the lock before it looks for its predecessor.
  successor->predecessor = std::move(self->thread);
  workers_[self->index] = std::move(successor);
  counts_.spawned.fetch_add(1);
  return true;
}

/// Called by `join`, which is alone. A worker may start its successor until it sees `stopping_`.
void ThreadCore::stop_workers() noexcept {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  work_.notify_all();
  pause_.notify_all();
  deadlines_.notify_all();
  for (std::jthread thread = take_thread(); thread.joinable(); thread = take_thread()) {
    lock.unlock();
    thread.join();
    lock.lock();
  }
  overdue_.clear();
  ended_.clear();
  std::fill(workers_.begin(), workers_.end(), nullptr);
}

/// A thread that is to be joined, the timekeeper before all others. Called with the lock.
std::jthread ThreadCore::take_thread() noexcept {
  if (timekeeper_.joinable()) return std::move(timekeeper_);
  std::jthread taken;
  const auto take = [&](ThreadWorker& worker) {
    if (!taken.joinable()) taken = std::move(worker.thread);
  };
  for (const auto& worker : workers_) {
    if (worker) take(*worker);
  }
  overdue_.for_each(take);
  ended_.for_each(take);
  return taken;
}

}  // namespace libpool::detail
