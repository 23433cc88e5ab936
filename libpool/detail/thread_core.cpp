/// Submission, feeding and the ends of a thread pool.
///
/// Runs in the parent, on calling threads and helper threads. A slow input blocks only the thread
/// that pulls it.
#include <libpool/detail/thread_core.hpp>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include <libpool/detail/pool_calls.hpp>
#include <libpool/detail/process_identity.hpp>
#include <libpool/errors.hpp>

namespace libpool::detail {

ThreadCore::ThreadCore(std::size_t workers, PoolOptions options)
    : process_(process_identity()),
      size_(workers),
      options_(std::move(options)),
      lookahead_(lookahead_for(options_, workers)),
      most_chunks_(std::max(lookahead_.chunks, 4 * workers)),
      helpers_(options_.helper_threads),
      workers_(workers),
      restarts_(options_.restart_intensity.value_or(16 + 2 * workers), options_.restart_period,
                options_.restart_backoff) {}

bool ThreadCore::in_own_process() const noexcept { return process_identity() == process_; }

void ThreadCore::check_process() const {
  if (!in_own_process()) {
    throw PoolError("libpool: a pool can be used only in the process that made it");
  }
}

// -- submission and feeding ----------------------------------------------------------------------

void ThreadCore::submit(const std::shared_ptr<ThreadJob>& job) {
  Batch& batch = job->batch();
  batch.attach(shared_from_this());
  if (batch.terms().timeout.count() > 0) {
    std::lock_guard lock(mutex_);
    if (!timekeeper_.joinable() && !workers_end())
      timekeeper_ = std::jthread([this] { keep_time(); });
  }
  {
    std::lock_guard lock(mutex_);
    if (closed_) throw PoolClosed();
    if (broken_) std::rethrow_exception(broken_);
    jobs_.emplace(&batch, job);
    job->feeding = true;
  }
  if (batch.terms().feeding == Feeding::by_helper) {
    post_feeding(job);
  } else {
    feed(job);
  }
}

void ThreadCore::post_feeding(std::shared_ptr<ThreadJob> job) noexcept {
  try {
    helpers_.post([this, job] { feed(job); });
  } catch (...) {
    feed(job);  // no memory to pass it on: better a slow caller than a stuck job
  }
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
  const std::size_t limit = batch.next_chunk();
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
  try {
    pulled = job->pull(limit);
  } catch (...) {
    pulled.ended = true;
    pulled.input_error = std::current_exception();
  }
  const std::size_t first = batch.pulled();
  const std::size_t items = pulled.count + (pulled.item_error ? 1 : 0);
  batch.pulled(items);
  counts_.submitted.fetch_add(items);
  if (pulled.count != 0) enqueue({job, std::move(pulled.items), first, 0, pulled.count});
  if (pulled.item_error) {
    counts_.failed.fetch_add(1);
    batch.fail(first + pulled.count, pulled.item_error);
  }
  if (!pulled.ended) return true;
  batch.end_input(pulled.input_error);
  finish_feeding(*job);
  return false;
}

void ThreadCore::enqueue(ThreadChunk chunk) {
  std::unique_lock lock(mutex_);
  if (terminated_ || broken_) {
    lock.unlock();
    counts_.cancelled.fetch_add(chunk.size());
    return;
  }
  counts_.queued.fetch_add(chunk.size());
  ++chunk.job->chunks;
  queue_.push_back(std::move(chunk));
  if (idle_ != 0) work_.notify_one();
}

void ThreadCore::finish_feeding(ThreadJob& job) {
  job.drop_source();
  Finished finished;
  std::lock_guard lock(mutex_);
  job.feeding = false;
  job.fed = true;
  finished = release_if_over(job);
}

/// A chunk of the job is over, or dropped. Called without locks, by somebody who holds the job.
void ThreadCore::finish_chunk(ThreadJob& job) {
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
        resumed = jobs_.at(&job.batch());
      }
    }
  }
  if (resumed) post_feeding(std::move(resumed));
}

ThreadCore::Finished ThreadCore::release_if_over(ThreadJob& job) {
  if (!job.fed || job.chunks != 0) return {};
  auto finished = jobs_.extract(&job.batch());
  if (jobs_.empty()) over_.notify_all();
  return finished;
}

void ThreadCore::room_appeared(Batch& batch) noexcept {
  std::shared_ptr<ThreadJob> job;
  {
    std::lock_guard lock(mutex_);
    const auto found = jobs_.find(&batch);
    if (found == jobs_.end() || found->second->fed || found->second->waits_for_chunks) return;
    found->second->feed_again = true;
    if (std::exchange(found->second->feeding, true)) return;
    job = found->second;
  }
  post_feeding(std::move(job));
}

bool ThreadCore::wait(Batch& batch, const std::function<bool()>& ready, Deadline deadline) {
  while (true) {
    const std::uint64_t seen = batch.changes();
    if (ready()) return true;
    if (!batch.wait_change(seen, deadline)) return ready();
  }
}

// -- ends ----------------------------------------------------------------------------------------

bool ThreadCore::cancel(Batch& batch) {
  const auto reason = std::make_exception_ptr(TaskCancelled());
  if (batch.terms().feeding == Feeding::at_submit) {
    if (!batch.claim_start() || !batch.abandon(reason, false)) return false;
    // Its chunk stays in the queue, and whoever takes it sees that its start was claimed.
    counts_.queued.fetch_sub(1);
    counts_.cancelled.fetch_add(1);
    return true;
  }
  if (!batch.abandon(reason, false)) return false;
  std::deque<ThreadChunk> dropped;
  {
    std::lock_guard lock(mutex_);
    std::erase_if(queue_, [&](const ThreadChunk& chunk) {
      if (&chunk.job->batch() != &batch) return false;
      dropped.push_back(chunk);  // also so that the last owner of a job does not die under the lock
      return true;
    });
  }
  for (const auto& chunk : dropped) {
    forget_queued(chunk);
    finish_chunk(*chunk.job);
  }
  room_appeared(batch);
  return true;
}

void ThreadCore::forget_queued(const ThreadChunk& chunk) noexcept {
  const Batch& batch = chunk.job->batch();
  if (batch.terms().feeding == Feeding::at_submit && !chunk.job->batch().claim_start()) return;
  counts_.queued.fetch_sub(chunk.size());
  counts_.cancelled.fetch_add(chunk.size());
}

/// Drops the queue and abandons every batch; returns without the lock. The caller set the flag that
/// says why under the same lock: feeding drops chunks from then on, and a job whose last chunk was
/// dropped before its batch is on the list here would leave, and its waiters wait for ever.
void ThreadCore::end_all(std::unique_lock<std::mutex> lock, const std::exception_ptr& reason,
                         bool at_once) {
  std::deque<ThreadChunk> dropped;
  std::vector<std::shared_ptr<ThreadJob>> jobs;
  ++ending_;
  dropped.swap(queue_);
  for (const auto& [batch, job] : jobs_) jobs.push_back(job);
  work_.notify_all();
  pause_.notify_all();
  deadlines_.notify_all();
  lock.unlock();
  for (const auto& chunk : dropped) forget_queued(chunk);
  for (const auto& job : jobs) job->batch().abandon(reason, at_once);
  for (const auto& chunk : dropped) finish_chunk(*chunk.job);
  for (const auto& job : jobs) room_appeared(job->batch());  // feeding that was parked must end
  lock.lock();
  --ending_;
  room_.notify_all();
  over_.notify_all();
}

void ThreadCore::close() {
  std::vector<std::shared_ptr<ThreadJob>> jobs;
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(closed_, true)) return;
    for (const auto& [batch, job] : jobs_) jobs.push_back(job);
  }
  for (const auto& job : jobs) job->batch().pool_closed();
}

void ThreadCore::terminate() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  if (std::exchange(terminated_, true)) return;
  end_all(std::move(lock), std::make_exception_ptr(PoolTerminated()), true);
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
