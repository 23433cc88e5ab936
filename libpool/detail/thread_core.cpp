/// Submission, feeding and the ends of a thread pool.
///
/// Runs in the parent, on calling threads and helper threads. A slow input blocks only the thread
/// that pulls it.
#include <libpool/detail/thread_core.hpp>

#include <algorithm>
#include <array>
#include <new>
#include <stdexcept>
#include <utility>

#include <libpool/detail/pool_calls.hpp>
#include <libpool/errors.hpp>

namespace libpool::detail {

ThreadCore::ThreadCore(std::size_t workers, PoolOptions options)
    : size_(workers),
      options_(std::move(options)),
      lookahead_(lookahead_for(options_, workers)),
      most_chunks_(std::max(lookahead_.chunks, 4 * workers)),
      task_cancelled_(std::make_exception_ptr(TaskCancelled())),
      pool_terminated_(std::make_exception_ptr(PoolTerminated())),
      no_memory_(std::make_exception_ptr(
          PoolBroken("libpool: no memory is left", std::make_exception_ptr(std::bad_alloc())))),
      helpers_(options_.helper_threads),
      workers_(workers),
      restarts_(options_.restart_intensity.value_or(16 + 2 * workers), options_.restart_period,
                options_.restart_backoff) {}

// -- submission and feeding ----------------------------------------------------------------------

void ThreadCore::submit(const std::shared_ptr<ThreadJob>& job) {
  Batch& batch = job->batch();
  batch.attach(shared_from_this());
  // Neither its callback nor its input may lack a thread later.
  if (batch.terms().feeding == Feeding::by_helper || batch.has_callback()) helpers_.prepare();
  if (batch.terms().timeout.count() > 0) {
    std::lock_guard lock(mutex_);
    if (!timekeeper_.joinable() && !workers_end())
      timekeeper_ = std::jthread([this] { keep_time(); });
  }
  {
    std::lock_guard lock(mutex_);
    if (broken_) std::rethrow_exception(broken_);
    if (closed_) throw PoolClosed();
    jobs_.add(job);
    batch.known_as(job.get());
    job->feeding = true;
  }
  if (batch.terms().feeding == Feeding::by_helper) {
    helpers_.post(job);
  } else {
    feed(job);
  }
}

void ThreadJob::perform() noexcept {
  static_cast<ThreadCore&>(batch_->core()).feed(shared_from_this());
}

void ThreadCore::feed(const std::shared_ptr<ThreadJob>& job) {
  while (may_feed(*job) && feed_chunk(job)) {
  }
}

/// Whether the pool has room for a chunk of the job. A caller that blocks anyway waits for it;
/// other feeding is parked, and `finish_chunk` starts it again.
bool ThreadCore::may_feed(ThreadJob& job) {
  const bool waits = job.batch().terms().feeding == Feeding::by_caller;
  std::unique_lock lock(mutex_);
  job.feed_again = false;
  if (job.chunks < most_chunks_ || job.batch().abandoned()) return true;
  job.waits_for_chunks = true;
  if (!waits) {
    job.feeding = false;
    return false;
  }
  room_.wait(lock, [&] { return !job.waits_for_chunks || job.batch().abandoned(); });
  job.waits_for_chunks = false;
  return true;
}

/// One feeding step; false if there is none to take after it, for now or for ever.
bool ThreadCore::feed_chunk(const std::shared_ptr<ThreadJob>& job) {
  Batch& batch = job->batch();
  const std::size_t limit = batch.next_chunk(batch.pulled(), 1);
  if (limit == 0) {
    if (batch.input_ended() || batch.abandoned()) {
      finish_feeding(*job);
      return false;
    }
    std::lock_guard lock(mutex_);
    job->feeding = job->feed_again;
    return job->feeding;
  }
  ThreadJob::Pulled pulled;
  Chunk chunk;
  try {
    chunk = std::make_unique<ThreadChunk>();  // first: what was pulled must not be lost
    pulled = job->pull(limit);
  } catch (...) {
    pulled.ended = true;
    pulled.input_error = std::current_exception();
  }
  const std::size_t first = batch.pulled();
  const std::size_t items = pulled.count + (pulled.item_error ? 1 : 0);
  batch.pulled(items);
  counts_.submitted.fetch_add(items);
  if (pulled.count != 0) {
    *chunk = {job, std::move(pulled.items), first, 0, pulled.count};
    enqueue(std::move(chunk));
  }
  if (pulled.item_error) {
    counts_.failed.fetch_add(1);
    batch.fail(first + pulled.count, pulled.item_error);
  }
  if (!pulled.ended) return true;
  batch.end_input(pulled.input_error);
  finish_feeding(*job);
  return false;
}

void ThreadCore::enqueue(Chunk chunk) noexcept {
  std::unique_lock lock(mutex_);
  if (terminated_ || broken_) {
    lock.unlock();
    counts_.cancelled.fetch_add(chunk->size());
    return;
  }
  counts_.queued.fetch_add(chunk->size());
  ++chunk->job->chunks;
  queue_.push_back(std::move(chunk));
  if (idle_ != 0) work_.notify_one();
}

void ThreadCore::finish_feeding(ThreadJob& job) noexcept {
  job.drop_source();
  Finished finished;
  std::lock_guard lock(mutex_);
  job.feeding = false;
  job.fed = true;
  finished = release_if_over(job);
}

void ThreadCore::leave_if_over(ThreadJob& job) noexcept {
  Finished finished;
  std::lock_guard lock(mutex_);
  finished = release_if_over(job);
}

/// A chunk of the job is over, or dropped. Called without locks, by somebody who holds the job.
void ThreadCore::finish_chunk(ThreadJob& job) noexcept {
  Finished finished;
  std::shared_ptr<ThreadJob> resumed;
  {
    std::lock_guard lock(mutex_);
    --job.chunks;
    finished = release_if_over(job);
    // Late, so that feeding takes several chunks at a time.
    if (job.waits_for_chunks && job.chunks <= most_chunks_ / 2) {
      job.waits_for_chunks = false;
      if (job.feeding) {
        room_.notify_all();
      } else {
        job.feeding = true;
        resumed = jobs_.share(job);
      }
    }
  }
  if (resumed) helpers_.post(std::move(resumed));
}

ThreadCore::Finished ThreadCore::release_if_over(ThreadJob& job) noexcept {
  if (!job.fed || job.chunks != 0) return {};
  // When the pool has ended, chunks are dropped: a job that left before its batch has heard of the
  // end would leave its waiters waiting for ever.
  if ((terminated_ || broken_) && job.told() == PoolEnd::none) return {};
  job.batch().known_as(nullptr);
  auto finished = jobs_.remove(job);
  if (jobs_.empty()) over_.notify_all();
  return finished;
}

void ThreadCore::room_appeared(Batch& batch) noexcept {
  std::shared_ptr<ThreadJob> job;
  {
    std::lock_guard lock(mutex_);
    auto* const known = static_cast<ThreadJob*>(batch.job());
    if (known == nullptr || known->fed || known->waits_for_chunks) return;
    known->feed_again = true;
    if (std::exchange(known->feeding, true)) return;
    job = jobs_.share(*known);
  }
  helpers_.post(std::move(job));
}

bool ThreadCore::wait(Batch& batch, const std::function<bool()>& ready, Deadline deadline) {
  const HelperThreads::Waiting waiting;
  while (true) {
    const std::uint64_t seen = batch.changes();
    if (ready()) return true;
    if (!batch.wait_change(seen, deadline)) return ready();
  }
}

// -- ends ----------------------------------------------------------------------------------------

bool ThreadCore::cancel(Batch& batch) {
  if (batch.terms().feeding == Feeding::at_submit) {
    if (!batch.claim_start() || !batch.abandon(task_cancelled_, false)) return false;
    // Its chunk stays in the queue, and whoever takes it sees that its start was claimed.
    counts_.queued.fetch_sub(1);
    counts_.cancelled.fetch_add(1);
    return true;
  }
  if (!batch.abandon(task_cancelled_, false)) return false;
  Chain<Chunk> dropped;
  {
    std::lock_guard lock(mutex_);
    if (!terminated_ && !broken_) {
      dropped =
          queue_.take_if([&](const ThreadChunk& chunk) { return &chunk.job->batch() == &batch; });
    }
  }
  while (!dropped.empty()) {
    const Chunk chunk = dropped.pop_front();
    forget_queued(*chunk);
    finish_chunk(*chunk->job);
  }
  room_appeared(batch);
  return true;
}

/// Calls nothing but what may be called under the lock.
void ThreadCore::forget_queued(const ThreadChunk& chunk) noexcept {
  Batch& batch = chunk.job->batch();
  if (batch.terms().feeding == Feeding::at_submit && !batch.claim_start()) return;
  counts_.queued.fetch_sub(chunk.size());
  counts_.cancelled.fetch_add(chunk.size());
}

/// Nothing will run any more, for this reason. Lets go of the lock.
void ThreadCore::break_pool(std::unique_lock<std::mutex>& lock, const char* what,
                            const std::exception_ptr& cause) noexcept {
  try {
    broken_ = std::make_exception_ptr(PoolBroken(what, cause));
  } catch (const std::bad_alloc&) {
    broken_ = no_memory_;
  }
  end_all(lock, PoolEnd::broken, broken_);
}

/// Abandons every batch and drops the queue, without memory. Lets go of the lock. The caller set
/// the flag that says why under the same lock: nothing is queued any more from then on, and no job
/// leaves before it is told.
void ThreadCore::end_all(std::unique_lock<std::mutex>& lock, PoolEnd end,
                         const std::exception_ptr& reason) noexcept {
  ++ending_;
  queue_.for_each([this](const ThreadChunk& chunk) { forget_queued(chunk); });
  Chain<Chunk> dropped = std::move(queue_);
  work_.notify_all();
  pause_.notify_all();
  deadlines_.notify_all();
  jobs_.tell_all(end, lock, [&](const std::shared_ptr<ThreadJob>& job) {
    job->batch().abandon(reason, end == PoolEnd::terminated);
    room_appeared(job->batch());  // feeding that was parked must end
    leave_if_over(*job);
  });
  lock.unlock();
  while (!dropped.empty()) finish_chunk(*Chunk(dropped.pop_front())->job);
  lock.lock();
  --ending_;
  room_.notify_all();
  over_.notify_all();
}

void ThreadCore::close() {
  std::vector<std::shared_ptr<ThreadJob>> jobs;
  {
    std::lock_guard lock(mutex_);
    if (closed_) return;
    jobs.reserve(jobs_.size());
    jobs_.for_each([&](ThreadJob& job) { jobs.push_back(jobs_.share(job)); });
    closed_ = true;
  }
  for (const auto& job : jobs) job->batch().pool_closed();
}

void ThreadCore::terminate() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  if (std::exchange(terminated_, true)) return;
  end_all(lock, PoolEnd::terminated, pool_terminated_);
  lock.unlock();
  helpers_.terminate(pool_terminated_);  // jobs that are over but for their callbacks
}

void ThreadCore::join() {
  if (in_callback_of(*this)) throw std::logic_error("libpool: a callback cannot join its own pool");
  {
    std::unique_lock lock(mutex_);
    if (!closed_) throw std::logic_error("libpool: join() needs close() or terminate() first");
    over_.wait(lock, [this] { return jobs_.empty() && ending_ == 0; });
  }
  const std::lock_guard joining(join_mutex_);
  helpers_.stop();
  stop_workers();
}

PoolStats ThreadCore::stats() {
  PoolStats stats;
  // What became of items before how many there were, and lost workers before those that were
  // started: no total is then smaller than its parts.
  stats.succeeded = counts_.succeeded.load();
  stats.failed = counts_.failed.load();
  stats.timed_out = counts_.timed_out.load();
  stats.cancelled = counts_.cancelled.load();
  stats.running = counts_.running.load();
  stats.queued = counts_.queued.load();
  stats.submitted = counts_.submitted.load();
  stats.workers_lost = counts_.lost.load();
  std::lock_guard lock(mutex_);
  stats.workers_spawned = counts_.spawned.load();
  for (const auto& worker : workers_) {
    if (!worker) continue;
    stats.workers.push_back({worker->id.load(), worker->tasks_done.load(),
                             std::chrono::nanoseconds(worker->busy.load())});
  }
  return stats;
}

}  // namespace libpool::detail
