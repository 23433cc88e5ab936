/// Feeding: from a batch's input to the dispatcher's queue, as far as there is room.
///
/// Runs in the parent, on the batch's feeding thread: the caller that blocks, the thread that
/// submits, or a helper. Iterators and encoders of the user run without the engine's lock, so that
/// a slow input delays nobody else.
#include <algorithm>
#include <memory>
#include <utility>

#include <libpool/engine/engine.hpp>
#include <libpool/submit/chunker.hpp>

namespace libpool::engine {

using detail::Feeding;
using submit::Job;

namespace {

/// Chunks of one job that wait behind the full ring: enough to refill it while the feeding thread
/// wakes.
constexpr std::size_t waiting_chunks = 16;

/// What a worker needs to have before it so that it never waits, and bytes of payload that stay in
/// the caches: a job that has given every worker this much waits until some of it is done. Payloads
/// written further ahead would be read from memory that is several times slower, and so would the
/// results after them.
constexpr std::size_t chunks_a_worker = 3;
constexpr std::size_t payload_a_worker = std::size_t{256} << 10;

/// Payloads of so many bytes wait for room in shared memory before they are written, not after.
constexpr std::size_t large_payload = std::size_t{64} << 10;

/// Chunks that are fed before any of them is published, at most: a microsecond or two of work,
/// after which the payload, the lock and the wake that they share hardly count.
constexpr std::size_t chunks_a_step = 16;

}  // namespace

/// Whether the pool has room for another chunk of the job; whether the batch wants one is for
/// `next_chunk`. To be asked once where it matters: other threads take and give back memory
/// meanwhile.
bool Engine::may_feed(const Job& job) noexcept {
  if (job.input_ended || job.abandoned || job.feeding || job.sated) return false;
  if (job.batch->terms().feeding == Feeding::at_submit) return true;
  if (job.waiting >= waiting_chunks || memory_.in_flight() >= max_in_flight_) return false;
  if (job.chunks >= chunks_a_worker * pool_.workers &&
      job.chunks * job.chunk_bytes >= payload_a_worker * pool_.workers) {
    return false;
  }
  // With a chunk in the queue, it is served in its turn whatever others need.
  return job.chunks == 0 || job.expected_bytes < large_payload ||
         memory_.has_room(job.expected_bytes);
}

/// Feeds until there is no room or no more input, unless another thread does already.
void Engine::feed(const std::shared_ptr<Job>& job) noexcept {
  Lock lock(mutex_);
  if (job->feeding) {
    job->feed_again = true;
    return;
  }
  job->hungry = false;
  bool may = false;
  while ((may = may_feed(*job)) && feed_step(job, lock)) {
  }
  if (!may && !job->input_ended && !job->abandoned && !job->sated) starve(job);
  forget_if_over(job);
  ++generation_;
  wake_followers(lock);
  // `join` may drive meanwhile, asleep, for want of nothing but the end of this job.
  if (job->over()) kick(lock);
}

/// Pulls and enqueues a chunk, or several where the input never waits: they then cost one lock and
/// one wake together. False if the batch wants none now.
bool Engine::feed_step(const std::shared_ptr<Job>& job, Lock& lock) noexcept {
  Batch& batch = *job->batch;
  job->feeding = true;
  job->feed_again = false;
  // Items that may be stopped one by one are handed over one by one.
  if (batch.terms().singly && batch.terms().timeout.count() == 0 && job->codec->bundles()) {
    // What a worker that retires leaves of a bundle, its successors would run one after the other.
    const auto most = static_cast<std::size_t>(pool_.max_tasks / 8);
    const std::size_t paced =
        submit::bundle(job->pace.time_for(1, 1), bundle_time_, batch.pulled(), pool_.workers);
    job->bundle = job->pulled < job->singly_until ? 1 : std::clamp<std::size_t>(most, 1, paced);
  }
  submit::Chunks spent = dispatcher_.take_spent();
  lock.unlock();
  spent.clear();
  submit::Fed fed = submit::feed(job, job->codec->input_may_wait() ? 1 : chunks_a_step, memory_);
  if (!fed.wanted) {
    lock.lock();
    job->feeding = false;
    if (batch.input_ended() || batch.abandoned()) job->input_ended = true;
    job->sated = !job->feed_again;  // unless room appeared after the batch had said there is none
    return job->feed_again;
  }
  lock.lock();
  if (!starved_.empty()) kick(lock);  // a payload that was less than expected leaves room to others
  enqueue(job, fed, lock);
  settle_failed(job, fed, lock);
  job->feeding = false;
  return true;
}

/// The one item of a call that does not wait for room.
submit::Fed Engine::feed_single(const std::shared_ptr<Job>& job) noexcept {
  submit::Fed fed = submit::feed(job, 1, memory_);
  fed.ended = true;
  // Here if the item was pulled, because the batch does not conclude by this.
  job->input_ended = fed.failed == 0 && fed.input_error == nullptr;
  if (job->input_ended) job->batch->end_input(nullptr);
  return fed;
}

/// Publishes what was fed, as far as there is room.
// Modelled in tests/model/pool.pml as a feeding thread's step of round and poll.
void Engine::enqueue(const std::shared_ptr<Job>& job, submit::Fed& fed, const Lock& lock) noexcept {
  job->pulled += fed.pulled;
  submitted_ += fed.pulled;
  tally_.failed += fed.failed;
  job->counted += fed.failed;
  if (fed.chunks.empty() || job->abandoned) return;
  job->chunks += fed.chunks.size();
  while (!fed.chunks.empty()) dispatcher_.enqueue(fed.chunks.pop_front());
  publish_and_wake();
  // A sleeping driver knows nothing of these chunks' deadlines, nor that memory is to be tried for.
  if (job->batch->terms().timeout.count() != 0 || dispatcher_.stuck()) kick(lock);
}

/// Tells the batch what could not be fed, and of the input's end. Lets go of the lock for it, and
/// to destroy what was not enqueued.
void Engine::settle_failed(const std::shared_ptr<Job>& job, submit::Fed& fed, Lock& lock) noexcept {
  if (fed.chunks.empty() && fed.failed == 0 && (!fed.ended || job->input_ended)) return;
  Batch& batch = *job->batch;
  lock.unlock();
  fed.chunks.clear();
  for (std::size_t item = fed.pulled - fed.failed; item < fed.pulled; ++item) {
    batch.fail(fed.first_index + item, fed.error);
  }
  if (fed.ended) batch.end_input(fed.input_error);
  lock.lock();
  job->settled += fed.failed;
  if (fed.ended) job->input_ended = true;
}

void Engine::room_appeared(Batch& batch) noexcept {
  std::shared_ptr<Job> job;  // may be the last reference: outlives the lock
  Lock lock(mutex_);
  job = known(batch);
  if (job == nullptr) return;
  job->sated = false;
  if (job->feeding) {
    job->feed_again = true;
  } else if (job->batch->terms().feeding == Feeding::by_helper) {
    // Who takes much from an input that never waits feeds it, too: at once where an item is copied
    // as bits, else when he waits for more; if he does not, the driver sees to it, which is the
    // background thread after its nap if need be.
    if (!job->codec->input_may_wait() && job->codec->item_stride() != 0) {
      lock.unlock();
      feed(job);
    } else if (napping_ && !job->codec->input_may_wait()) {
      starve(job);
      kick(lock);
    } else {
      post_feeding(job, lock);
    }
  }
}

void Engine::starve(const std::shared_ptr<Job>& job) noexcept {
  job->hungry = true;
  if (std::exchange(job->starved, true)) return;
  starved_.push_back(job);
}

/// Sees to it that jobs which had to pause are fed again.
void Engine::feed_starved(Lock& lock) noexcept {
  for (std::size_t left = starved_.size(); left != 0 && !starved_.empty(); --left) {
    std::shared_ptr<Job> job = starved_.pop_front();
    const bool may = may_feed(*job);
    if (job->hungry && !may && !job->input_ended && !job->abandoned) {
      starved_.push_back(std::move(job));
      continue;
    }
    job->starved = false;
    if (!job->hungry || !may) {
      lock.unlock();
      job = nullptr;  // may be the last reference
      lock.lock();
    } else if (job->batch->terms().feeding == Feeding::by_helper) {
      post_feeding(job, lock);
      lock.unlock();
      job = nullptr;  // here, too
      lock.lock();
    } else {
      wake_followers(lock);  // one of them is the caller that feeds it
    }
  }
}

/// Asks a helper thread to feed the job. Lets go of the lock, because the helper may be this thread
/// itself.
void Engine::post_feeding(const std::shared_ptr<Job>& job, Lock& lock) noexcept {
  if (job->posted) return;
  job->posted = true;
  lock.unlock();
  helpers_.post(std::static_pointer_cast<FedJob>(job));
  lock.lock();
}

void Engine::FedJob::perform() noexcept {
  auto& engine = static_cast<Engine&>(batch->core());
  {
    const Lock begins(engine.mutex_);
    posted = false;
  }
  engine.feed(shared_from_this());
}

}  // namespace libpool::engine
