/// The driver's role: rounds, sleep, and handing the role on. Runs in the parent; see the header.
#include <libpool/engine/engine.hpp>

#include <sys/eventfd.h>

#include <algorithm>
#include <new>
#include <optional>
#include <utility>

#include <libpool/detail/system.hpp>
#include <libpool/errors.hpp>

namespace libpool::engine {

using detail::system_calls;

namespace {

/// Rounds that find nothing before the driver sleeps: about as long as being woken takes. After the
/// first few it lets others have the CPU in between: the worker that it waits for may need this
/// one.
constexpr int rounds_before_sleep = 80;
constexpr int rounds_before_yield = 20;

/// So many before it naps, if the workers have enough to do, and for how long at most: where
/// somebody waits for each result of short chunks, and else. Where chunks take longer than
/// `short_chunk` and nobody waits for each, a driver yields its CPU between them, which costs it
/// more time and the workers less.
constexpr int rounds_before_nap = 2;
constexpr std::chrono::nanoseconds short_chunk = std::chrono::microseconds{48};
constexpr std::chrono::nanoseconds eager_nap = std::chrono::microseconds{100};
constexpr std::chrono::nanoseconds longest_nap = std::chrono::milliseconds{1};

/// How long the driver naps, or sleeps at first, where a worker was woken and waits behind another
/// one for its CPU; asleep, it sleeps twice as long each time. A CPU that is left by the driver
/// looks for somebody who waits, but it does so only then, and does not find everybody each time.
constexpr std::chrono::nanoseconds first_sleep = std::chrono::microseconds{50};

/// A driver that does not sleep takes a thorough round once in so many, or after so long: it asks
/// the fork server for news, which is a system call, and looks into open runs.
constexpr int rounds_between_thorough = 64;
constexpr std::chrono::nanoseconds longest_between_thorough = std::chrono::microseconds{200};

/// Settled chunks that may lie about until a thread that makes new ones destroys them.
constexpr std::size_t most_spent = 1024;

/// The engine whose outcomes this thread delivers now, if any.
thread_local const Engine* delivering = nullptr;

supervise::RestartPolicy restart_policy(const PoolOptions& options, std::size_t workers) {
  return {options.restart_intensity.value_or(16 + 2 * workers), options.restart_period,
          options.restart_backoff};
}

void empty(int fd) noexcept {
  char bytes[512];
  while (system_calls.read(fd, bytes, sizeof bytes) == static_cast<ssize_t>(sizeof bytes)) {
  }
}

timespec time_left(Clock::time_point until) noexcept {
  const auto left = std::max<std::int64_t>((until - Clock::now()).count(), 0);
  return {static_cast<time_t>(left / 1'000'000'000), static_cast<long>(left % 1'000'000'000)};
}

/// Bytes of a chunk's results such that all that a worker may find published fit into its ring.
std::size_t results_while_napping(const ring::PoolDescription& pool) noexcept {
  const std::size_t share = ring::first_part(pool.result_ring) * pool.workers / pool.task_slots;
  return share - std::min(share, 2 * ring::record_alignment);
}

std::uint64_t nanoseconds(Clock::time_point time) noexcept {
  return static_cast<std::uint64_t>(time.time_since_epoch().count());
}

}  // namespace

Engine::Engine(const ring::PoolDescription& pool, const PoolOptions& options)
    : pool_(pool),
      max_in_flight_(options.max_payload_in_flight),
      bundle_time_(options.bundle_time),
      task_cancelled_(std::make_exception_ptr(TaskCancelled())),
      pool_terminated_(std::make_exception_ptr(PoolTerminated())),
      no_memory_(std::make_exception_ptr(PoolBroken("the pool is broken: no memory is left",
                                                    std::make_exception_ptr(std::bad_alloc())))),
      segments_(pool),
      memory_(segments_.arena_base(), segments_.arena()),
      result_memory_(std::make_shared<collect::ResultMemory>(options.result_memory)),
      kicks_(detail::create_descriptor(
          "eventfd", [] { return system_calls.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); })),
      dispatcher_(segments_.publisher(), memory_, pool.workers, results_while_napping(pool)),
      collector_(dispatcher_, options.max_result_size),
      supervisor_(supervise::ForkServer::start(pool, segments_.descriptors(), options.initializer),
                  segments_.readers(), segments_.stops(), dispatcher_, collector_,
                  restart_policy(options, pool.workers), options.unexplained_deaths,
                  10 * bundle_time_),
      deliveries_(result_memory_),
      helpers_(options.helper_threads) {
  modules_ = &supervisor_.server().modules();
  Lock lock(mutex_);
  const Role role(*this, lock);
  supervisor_.start();
  while (!supervisor_.all_reported() && broken_ == nullptr) {
    if (!round(lock)) sleep(lock, std::nullopt);
  }
}

Engine::Role::~Role() {
  if (!lock_.owns_lock()) lock_.lock();
  engine_.driving_ = false;
  engine_.wake_followers(lock_);
  if (engine_.napping_) engine_.role_given_up_.notify_one();
}

bool Engine::wait(Batch& batch, const std::function<bool()>& ready, Deadline deadline) {
  const detail::HelperThreads::Waiting waiting;
  const std::shared_ptr<submit::Job> job = fed_by_waiter(batch, deadline);
  if (job != nullptr) feed(job);
  Lock lock(mutex_);
  while (true) {
    const std::uint64_t seen = generation_;
    lock.unlock();
    const bool is_ready = ready();
    lock.lock();
    if (is_ready) return true;
    if (deadline && Clock::now() >= *deadline) return false;
    if (generation_ != seen) continue;
    if (job != nullptr && may_feed(*job)) {
      // Without the driver's role: iterators and encoders may be slow, and may use the pool.
      lock.unlock();
      feed(job);
      lock.lock();
      continue;
    }
    // It drives if nobody else does, and will come again.
    if (job != nullptr && job->unattended()) visits_ += flood + 1;
    if (!driving_) {
      if (drive(lock, job, ready, deadline)) return true;
      continue;
    }
    // The room that there was has been taken by others.
    if (job != nullptr && job->hungry && !job->abandoned) starve(job);
    ++followers_;
    if (deadline) {
      changed_.wait_until(lock, *deadline);
    } else {
      changed_.wait(lock);
    }
    --followers_;
  }
}

/// How long the driver may nap: the workers have so much to do that they need it no sooner, and it
/// may take the CPU of one of them. Zero: not worth it.
std::chrono::nanoseconds Engine::time_to_nap() noexcept {
  if (std::exchange(kicked_, false)) return {};  // to look again first
  const std::size_t chunks = dispatcher_.patient_chunks();
  if (chunks <= pool_.workers) return {};
  const std::uint64_t ended = dispatcher_.last_ticket() - dispatcher_.published_chunks();
  pace_.update(supervisor_.busy(), ended);
  const bool leaves_cpu = supervisor_.still_waking();
  const auto half = pace_.time_for(chunks, pool_.workers) / 2;
  const bool eager = dispatcher_.has_eager();
  const bool brief = pace_.time_for(1, 1) <= short_chunk;
  const bool worthwhile = half >= eager_nap && (eager || brief);
  if (!leaves_cpu && !worthwhile) return {};
  // A nap that nothing came of is followed by sleep: chunks take longer than they did.
  if (std::exchange(napped_at_, ended) == ended) return {};
  if (leaves_cpu) return first_sleep;
  return std::min(half, eager && brief ? eager_nap : longest_nap);
}

/// Where somebody waits for each result, and every worker has something to do, the driver does not
/// yield: that would cost it a slice each time.
int Engine::rounds_before_rest() const noexcept {
  const bool busy = dispatcher_.published_chunks() >= pool_.workers;
  return busy && dispatcher_.has_eager() ? rounds_before_yield : rounds_before_sleep;
}

/// Whether there is nothing to do but to wait for a worker that was just woken: the kernel often
/// puts him behind this thread, which then gives him the CPU at once.
bool Engine::wakes_one(bool busy) const noexcept {
  return !busy && dispatcher_.published_chunks() < pool_.workers && supervisor_.still_waking();
}

/// Drives until `ready()`, until the deadline, or until there is something to be done without the
/// role; then gives it up. True if it was `ready()`, which is then not asked again: it may have
/// taken something. Throws what that throws.
bool Engine::drive(Lock& lock, const std::shared_ptr<submit::Job>& feeds,
                   const std::function<bool()>& ready, Deadline deadline) {
  std::optional<Role> role(std::in_place, *this, lock);
  int idle_rounds = 0;
  bool done = false;
  while (true) {
    const bool busy = turn(lock);
    lock.unlock();
    done = ready();
    lock.lock();
    if (done || (deadline && Clock::now() >= *deadline)) break;
    if (feeds != nullptr && may_feed(*feeds)) break;
    idle_rounds = busy ? 0 : idle_rounds + 1;
    const bool tired = idle_rounds > rounds_before_rest();
    if (dispatcher_.spent_chunks() > (tired ? 0 : most_spent)) break;
    if (tired) {
      survive(lock, [&] {
        sleep(lock, deadline);
        return true;
      });
      idle_rounds = 0;
    } else if (const auto nap =
                   idle_rounds > rounds_before_nap ? time_to_nap() : std::chrono::nanoseconds{};
               nap.count() != 0) {
      const Clock::time_point end = Clock::now() + nap;
      survive(lock, [&] {
        wait_for_news(lock, deadline ? std::min(*deadline, end) : end, false);
        return true;
      });
      idle_rounds = 0;
    } else if (idle_rounds > rounds_before_yield || wakes_one(busy)) {
      lock.unlock();
      std::this_thread::yield();
      lock.lock();
    }
  }
  role.reset();
  destroy_spent(lock);
  return done;
}

/// Runs a step of the driver's, which throws with the lock held. If it ran out of memory, what it
/// was about may be lost: then the pool is broken, which takes no memory and gives each pending
/// item its outcome. Later steps may fail again, so it does not try too often.
template <class Step>
bool Engine::survive(Lock& lock, Step step) {
  constexpr timespec pause{.tv_sec = 0, .tv_nsec = 10'000'000};
  try {
    return step();
  } catch (const std::exception&) {
    supervisor_.give_up(std::current_exception());
  }
  lock.unlock();
  system_calls.nanosleep(&pause, nullptr);
  lock.lock();
  return true;
}

/// A round that may run out of memory.
bool Engine::turn(Lock& lock) {
  return survive(lock, [&] { return round(lock); });
}

/// One round: what has happened is taken in, handed on, and answered. True if anything had.
// Modelled in tests/model/pool.pml as round.
bool Engine::round(Lock& lock) {
  const Clock::time_point now = Clock::now();
  // Somebody waits for what this round brings, and often for no more.
  if (std::exchange(first_round_, false)) thorough_at_ = now;
  const bool thorough =
      woken_ || --rounds_to_thorough_ <= 0 || now - thorough_at_ >= longest_between_thorough;
  if (thorough) {
    rounds_to_thorough_ = rounds_between_thorough;
    thorough_at_ = now;
  }
  woken_ = false;
  if (supervisor_.broken() != nullptr && broken_ == nullptr) {
    // Memory ran out. What had been drained before counts.
    if (!deliveries_.empty()) deliver(deliveries_, lock);
    break_pool(lock);
  }
  const bool anything = supervisor_.pump(now, thorough, deliveries_);
  publish_and_wake();
  if (!deliveries_.empty()) deliver(deliveries_, lock);
  dispatcher_.retire_settled();
  const bool breaks = supervisor_.broken() != nullptr && broken_ == nullptr;
  if (breaks) break_pool(lock);
  if (!starved_.empty()) feed_starved(lock);
  return anything || breaks;
}

/// Spent chunks are left to the threads that make new ones, for a while: given back to the heap by
/// another thread than they were taken by, they cost several times as much.
void Engine::destroy_spent(Lock& lock) noexcept {
  if (dispatcher_.spent_chunks() == 0) return;
  submit::Chunks spent = dispatcher_.take_spent();
  lock.unlock();  // the user's destructors run
  spent.clear();
  lock.lock();
}

// Modelled in tests/model/pool.pml as refill and count_wakes.
void Engine::publish_and_wake() noexcept {
  std::size_t wakes = 0;
  if (dispatcher_.has_queue()) wakes = dispatcher_.refill(nanoseconds(Clock::now()));
  // A worker that died may have been woken for a chunk that it never claimed.
  if (supervisor_.buried() && dispatcher_.anything_ready()) {
    wakes = pool_.workers;
  } else if (wakes != 0 && supervisor_.enough_look(dispatcher_.published_chunks())) {
    wakes = 0;
  }
  if (wakes != 0) supervisor_.wake_idle(wakes);
}

void Engine::deliver(collect::Deliveries& deliveries, Lock& lock) noexcept {
  deliveries.count(tally_);
  lock.unlock();
  const Engine* const outer = std::exchange(delivering, this);  // decoding may use another pool
  deliveries.deliver();
  delivering = outer;
  lock.lock();
  auto shares = deliveries.account(tally_);
  for (const auto& share : shares) forget_if_over(share.job);
  ++generation_;
  wake_followers(lock);
  lock.unlock();
  shares.clear();  // may be the last reference: then the user's destructors run, without our lock
  lock.lock();
}

/// Sleeps until a worker rings, the fork server reports, somebody kicks, or it is time.
// Modelled in tests/model/pool.pml as poll and the loop before it.
void Engine::sleep(Lock& lock, Deadline deadline) {
  ring::WaitingWord& waiting = segments_.waiting();
  waiting.announce();
  // The last look: what was published before the announcement brings no ring, and no more does the
  // claim of a chunk whose payload the worker now waits for.
  supervisor_.hand_over_own_memory();
  supervisor_.take_back_late_bundles(Clock::now());
  if (dispatcher_.has_queue()) publish_and_wake();
  if (kicked_ || supervisor_.drain_all(collect::OpenRuns::take, deliveries_) ||
      !deliveries_.empty()) {
    waiting.clear();
    kicked_ = false;
    if (!deliveries_.empty()) deliver(deliveries_, lock);
    return;
  }
  // Whoever was to take it may be stopped, or wait for a CPU.
  if (dispatcher_.anything_ready()) supervisor_.wake_idle(1);
  wait_for_news(lock, deadline, true);
  waiting.clear();
}

/// Polls until there is news or it is time; `of_workers`: they ring.
void Engine::wait_for_news(Lock& lock, Deadline deadline, bool of_workers) {
  Deadline until = deadline;
  const auto no_later_than = [&](Clock::time_point when) {
    if (!until || when < *until) until = when;
  };
  if (const auto timer = supervisor_.next_timer()) no_later_than(*timer);
  if (dispatcher_.stuck()) no_later_than(Clock::now() + submit::Dispatcher::retry_pause);
  pollfd fds[] = {{kicks_.get(), POLLIN, 0},
                  {segments_.doorbell(), static_cast<short>(of_workers ? POLLIN : 0), 0},
                  {supervisor_.server().channel(), POLLIN, 0},
                  {supervisor_.server().process_fd(), POLLIN, 0}};
  const nfds_t count = supervisor_.broken() != nullptr ? 2 : 4;  // a dead server's fire for ever
  woken_ = true;
  bool over = false;
  std::chrono::nanoseconds longest = first_sleep;
  do {
    if (!supervisor_.still_waking()) longest = supervise::Supervisor::audit_period;
    const Clock::time_point audit = Clock::now() + longest;
    longest = std::min<std::chrono::nanoseconds>(2 * longest, supervise::Supervisor::audit_period);
    const timespec pause = time_left(until ? std::min(*until, audit) : audit);
    asleep_ = true;
    lock.unlock();
    over = system_calls.ppoll(fds, count, &pause, nullptr) != 0;
    if ((fds[0].revents & POLLIN) != 0) empty(kicks_.get());
    if ((fds[1].revents & POLLIN) != 0) empty(segments_.doorbell());
    over = over || (until && Clock::now() >= *until);
    lock.lock();
    asleep_ = false;
    // The audit looks at nothing that brings a ring, so that it hides no ring that was lost.
  } while (!over && supervisor_.audit());
  kicked_ = false;
}

void Engine::kick(const Lock&) noexcept {
  if (!driving_ || kicked_) return;
  kicked_ = true;
  if (!asleep_) return;
  const std::uint64_t one = 1;
  detail::retry_interrupted([&] { return system_calls.write(kicks_.get(), &one, sizeof one); });
}

void Engine::wake_followers(const Lock&) noexcept {
  if (followers_ != 0) changed_.notify_all();
}

void Engine::notify() noexcept {
  // One notification for all that is delivered at once, see `deliver`.
  if (delivering == this) return;
  const Lock lock(mutex_);
  ++generation_;
  wake_followers(lock);
  kick(lock);
}

}  // namespace libpool::engine
