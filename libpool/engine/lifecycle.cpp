/// Jobs from submission to their end, and the ends of the pool: close, terminate, join, broken.
///
/// Runs in the parent. What ends a batch is said to the batch without the engine's lock, because
/// callbacks and waiters follow from it. A pool that breaks gives every pending item an outcome
/// before it refuses new work.
#include <sys/types.h>

#include <array>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <libpool/engine/engine.hpp>
#include <libpool/errors.hpp>

namespace libpool::detail {

std::shared_ptr<ProcessCore> ProcessCore::start(std::size_t workers, const PoolOptions& options) {
  return std::make_shared<engine::Engine>(engine::describe(workers, options), options);
}

void end_pool(std::shared_ptr<ProcessCore> core) noexcept {
  if (core == nullptr) return;  // a worker's copy of the pool, as it was in its constructor
  if (!core->in_own_process()) {
    // The reference is given up without its end: the core's threads do not exist here.
    (void)new (std::nothrow) std::shared_ptr<ProcessCore>(std::move(core));
    return;
  }
  core->terminate();
  core->join();
}

}  // namespace libpool::detail

namespace libpool::engine {

using detail::Feeding;
using detail::PoolEnd;
using submit::Job;

namespace {

/// A thread that submits without waiting takes outcomes in once in so many submissions.
constexpr std::uint64_t submissions_a_round = 16;

std::string text_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& known) {
    return known.what();
  } catch (...) {
    return "an exception of unknown type";
  }
}

}  // namespace

void Engine::refuse_new_work() const {
  if (broken_ != nullptr) std::rethrow_exception(broken_);
  if (stage_ != Stage::open) throw PoolClosed();
}

void Engine::submit(std::shared_ptr<Batch> batch, std::unique_ptr<detail::ChunkCodec> codec) {
  check_process();
  const Feeding feeding = batch->terms().feeding;
  batch->attach(shared_from_this());
  // Neither its callback nor its input may lack a thread later.
  if (feeding == Feeding::by_helper || batch->has_callback()) helpers_.prepare();
  const auto job = std::make_shared<FedJob>();
  job->runner = codec->runner();
  job->codec = std::move(codec);
  job->batch = std::move(batch);
  submit::Fed fed;
  // Nobody else knows the job yet, so that the lock below is the only one that it costs.
  if (feeding == Feeding::at_submit) fed = feed_single(job);
  submit::Chunks spent;  // outlives the lock
  Lock lock(mutex_);
  refuse_new_work();
  if (feeding != Feeding::by_caller) start_background();
  jobs_.add(job);
  job->batch->known_as(job.get());
  if (feeding == Feeding::by_caller) return;  // `wait` feeds it
  ++unattended_;
  unattended_appeared_.notify_one();
  if (feeding == Feeding::by_helper) {
    post_feeding(job, lock);
  } else {
    spent = dispatcher_.take_spent();
    enqueue(job, fed, lock);
    settle_failed(job, fed, lock);
    forget_if_over(job);
    if (job->over()) kick(lock);  // as in `feed`
    take_in(lock);
  }
  ++generation_;
  wake_followers(lock);
}

/// A submitter's turn, now and then.
void Engine::take_in(Lock& lock) {
  ++visits_;
  if (++submissions_ % submissions_a_round != 0 || driving_ || stage_ == Stage::terminated) return;
  const Role role(*this, lock);
  turn(lock);
}

/// The job of a batch; null if it is over. Called with the lock.
std::shared_ptr<Job> Engine::known(const Batch& batch) const noexcept {
  auto* const job = static_cast<FedJob*>(batch.job());
  return job != nullptr ? jobs_.share(*job) : nullptr;
}

/// The job, if a thread that waits for it had better feed it itself: its input never waits, and the
/// thread has time.
std::shared_ptr<Job> Engine::fed_by_waiter(const Batch& batch, Deadline deadline) {
  const Feeding feeding = batch.terms().feeding;
  if (feeding == Feeding::at_submit || (feeding == Feeding::by_helper && deadline)) return nullptr;
  const Lock lock(mutex_);
  std::shared_ptr<Job> job = known(batch);
  const bool feeds =
      job != nullptr && (feeding == Feeding::by_caller || !job->codec->input_may_wait());
  return feeds ? job : nullptr;
}

/// The caller holds a reference to the job, so that nothing of the user's is destroyed under the
/// lock.
void Engine::forget_if_over(const std::shared_ptr<Job>& job) noexcept {
  if (!job->over() || !job->listed()) return;
  // Not what is settled: another thread may be handing counted outcomes to the batch just now.
  cancelled_ += job->pulled - job->counted;
  if (job->unattended()) --unattended_;
  job->batch->known_as(nullptr);
  (void)jobs_.remove(*job);
}

bool Engine::cancel(Batch& batch) {
  check_process();
  if (!batch.abandon(task_cancelled_, false)) return false;
  std::shared_ptr<Job> job;  // may be the last reference: outlives the lock
  Lock lock(mutex_);
  job = known(batch);
  if (job == nullptr) return true;
  job->abandoned = true;
  dispatcher_.drop(*job);
  // Stopping drains rings, which may hold outcomes of other jobs.
  collect::Deliveries drained(result_memory_);
  try {
    supervisor_.stop(*job, drained);
  } catch (const std::exception&) {
    supervisor_.give_up(std::current_exception());  // as in `survive`
  }
  publish_and_wake();
  deliver(drained, lock);
  forget_if_over(job);
  ++generation_;
  wake_followers(lock);
  kick(lock);
  dispatcher_.retire_settled();
  destroy_spent(lock);
  return true;
}

PoolStats Engine::stats() {
  check_process();
  Lock lock(mutex_);
  if (!driving_ && stage_ != Stage::terminated) {
    // Nobody drives an idle pool: take notice of deaths now.
    const Role role(*this, lock);
    woken_ = true;
    turn(lock);
  }
  destroy_spent(lock);
  const auto load = dispatcher_.load();
  const auto& workers = supervisor_.tally();
  return {submitted_,       tally_.succeeded, tally_.failed,   tally_.crashed,
          tally_.timed_out, cancelled_,       workers.retried, workers.spawned,
          workers.lost,     load.queued,      load.running,    supervisor_.workers()};
}

/// Ends one job with this error. Call without the lock.
void Engine::abandon(const std::shared_ptr<Job>& job, const std::exception_ptr& reason,
                     bool at_once) noexcept {
  job->batch->abandon(reason, at_once);
  const Lock lock(mutex_);
  job->abandoned = true;
  forget_if_over(job);
  ++generation_;
  wake_followers(lock);
  kick(lock);
}

/// Ends all jobs with this error, without memory. New work is refused already.
void Engine::abandon_all(PoolEnd end, const std::exception_ptr& reason, Lock& lock) noexcept {
  // Before the first of them hears of it: what becomes of its items is no outcome any more.
  jobs_.for_each([](Job& job) { job.abandoned = true; });
  supervisor_.kill_all();
  jobs_.tell_all(end, lock, [&](const std::shared_ptr<Job>& job) {
    abandon(job, reason, end == PoolEnd::terminated);
  });
}

/// Workers cannot be started any more: every pending item gets its outcome now.
void Engine::break_pool(Lock& lock) noexcept {
  lock.unlock();
  std::exception_ptr broken = no_memory_;
  try {
    const std::exception_ptr cause = supervisor_.cause();
    broken = std::make_exception_ptr(
        PoolBroken("the pool is broken and starts no workers any more: " + text_of(cause), cause));
  } catch (const std::bad_alloc&) {
  }
  lock.lock();
  broken_ = std::move(broken);
  abandon_all(PoolEnd::broken, broken_, lock);
}

void Engine::close() {
  check_process();
  std::vector<std::shared_ptr<Job>> jobs;
  {
    const Lock lock(mutex_);
    if (stage_ != Stage::open) return;
    jobs.reserve(jobs_.size());
    jobs_.for_each([&](Job& job) { jobs.push_back(jobs_.share(job)); });
    stage_ = Stage::closed;
  }
  for (const auto& job : jobs) {
    job->batch->pool_closed();
    room_appeared(*job->batch);
  }
}

void Engine::terminate() {
  check_process();
  Lock lock(mutex_);
  if (stage_ == Stage::terminated) return;
  stage_ = Stage::terminated;
  abandon_all(PoolEnd::terminated, pool_terminated_, lock);
  lock.unlock();
  helpers_.terminate(pool_terminated_);  // jobs that are over but for their callbacks
}

void Engine::join() {
  check_process();
  if (detail::in_callback_of(*this)) {
    throw std::logic_error("libpool: a callback cannot join its own pool");
  }
  {
    const Lock lock(mutex_);
    if (stage_ == Stage::open) throw std::logic_error("libpool: join() of an open pool");
  }
  wait_for_jobs();
  const std::lock_guard one_at_a_time(join_mutex_);
  if (joined_) return;
  stop_background();
  {
    const Lock lock(mutex_);
    supervisor_.shut_down();
  }
  helpers_.stop();
  release_all();
  joined_ = true;
}

/// No worker and no thread is left: lets go of what was not finished. Jobs refer to this engine,
/// which would else never end.
void Engine::release_all() noexcept {
  Lock lock(mutex_);
  // A thread that terminates the pool may not yet have come to all of them.
  if (!jobs_.empty()) abandon_all(PoolEnd::terminated, pool_terminated_, lock);
  const auto chunks = dispatcher_.take_all();
  const auto undelivered = deliveries_.account(tally_);  // a driver may have run out of memory
  const auto starved = std::move(starved_);
  result_memory_->close();
  // One by one: a thread that still feeds one of them will look whether it is listed.
  while (!jobs_.empty()) {
    std::shared_ptr<Job> job = jobs_.remove_first();
    job->batch->known_as(nullptr);
    lock.unlock();  // the user's destructors run
    job = nullptr;
    lock.lock();
  }
  lock.unlock();  // before the destructors of what was taken, which are the user's, too
}

/// Until every job is over, or the pool is terminated: then they are ending by themselves.
void Engine::wait_for_jobs() {
  const auto ready = [this] {
    const Lock look(mutex_);
    return jobs_.empty() || stage_ == Stage::terminated;
  };
  Lock lock(mutex_);
  while (!jobs_.empty() && stage_ != Stage::terminated) {
    if (!driving_) {
      drive(lock, nullptr, ready, std::nullopt);
      continue;
    }
    ++followers_;
    changed_.wait(lock);
    --followers_;
  }
}

}  // namespace libpool::engine
