/// The supervisor: starts workers, learns of their deaths, buries them, stops those whose item has
/// run out of time.
///
/// Runs in the parent under the core's mutex, beside the data path. It asks the fork server, the
/// dispatcher and the collector; it never waits for a worker. A worker's death is its daily work:
/// see `bury` for the order that keeps every item.
#pragma once

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <libpool/collect/collector.hpp>
#include <libpool/options.hpp>
#include <libpool/pool_stats.hpp>
#include <libpool/ring/stop_word.hpp>
#include <libpool/submit/dispatcher.hpp>
#include <libpool/supervise/fork_server_client.hpp>
#include <libpool/supervise/restart_policy.hpp>
#include <libpool/supervise/worker_record.hpp>

namespace libpool::supervise {

/// What the supervisor counts.
struct WorkerTally {
  std::uint64_t spawned = 0;
  std::uint64_t lost = 0;
  std::uint64_t retried = 0;
};

/// Not thread-safe: guarded by the core's mutex.
class Supervisor {
 public:
  using Clock = std::chrono::steady_clock;

  Supervisor(ForkServer server, std::vector<ring::ResultReader> readers,
             std::span<ring::StopWord> stops, submit::Dispatcher& dispatcher,
             collect::Collector& collector, RestartPolicy policy,
             std::size_t unexplained_deaths = PoolOptions().unexplained_deaths,
             std::chrono::nanoseconds late_bundle = 10 * PoolOptions().bundle_time);

  /// Asks for all workers.
  void start();

  /// One round: takes the result rings and the clock into account and, if it is `thorough`, also
  /// open runs and what the fork server says. True if anything happened.
  bool pump(Clock::time_point now, bool thorough, collect::Deliveries& deliveries);

  /// Takes what is in the result rings. True if there was anything.
  bool drain_all(collect::OpenRuns open_runs, collect::Deliveries& deliveries);

  /// Sends payloads that have memory of their own to the workers that have claimed them.
  void hand_over_own_memory() noexcept;

  /// Queues anew what workers have not begun of bundles that take them long.
  void take_back_late_bundles(Clock::time_point now);

  /// Wakes at most `count` workers that sleep for want of chunks.
  void wake_idle(std::size_t count) noexcept;

  /// Whether at least so many workers look for chunks. As many as there are chunks in the ring,
  /// claimed or not, will take all of them without a wake.
  [[nodiscard]] bool enough_look(std::size_t chunks) const noexcept;
  /// Whether the worker that was woken last has not run yet: no CPU has taken it.
  [[nodiscard]] bool still_waking() const noexcept;

  /// Kills the workers that hold chunks of this job, and no others.
  void stop(const submit::Job& job, collect::Deliveries& deliveries);

  /// How often `audit` is called at least, by rounds and by a driver that sleeps. What it would
  /// find hurts nobody but who waits for it.
  static constexpr std::chrono::milliseconds audit_period{500};

  /// Looks whether the claim words could have come about without a fault. If not, all workers are
  /// killed and what they held is given to new ones, which takes some rounds; false while it does.
  bool audit();

  /// Kills all workers; none is started any more.
  void kill_all() noexcept;

  /// Ends every process of the pool and returns when they are dead.
  void shut_down() noexcept;

  /// When `pump` has something to do though nothing else happens.
  [[nodiscard]] std::optional<Clock::time_point> next_timer() const noexcept { return timer_; }

  /// Not null: no worker will be started any more.
  [[nodiscard]] std::exception_ptr broken() const noexcept { return broken_; }

  /// Why, when it is so. Call without locks: decoding what an initializer threw runs the user's
  /// code.
  [[nodiscard]] std::exception_ptr cause() const;

  /// No worker will be started any more, for this reason.
  void give_up(std::exception_ptr why) noexcept {
    if (broken_ == nullptr) broken_ = std::move(why);
  }

  /// Whether the last round buried anybody: then wakes may be lost, and all idle workers are to be
  /// woken if a chunk is ready.
  [[nodiscard]] bool buried() const noexcept { return buried_; }

  /// Whether every worker has been forked, or has failed to be.
  [[nodiscard]] bool all_reported() const noexcept;

  [[nodiscard]] const ForkServer& server() const noexcept { return server_; }
  [[nodiscard]] const WorkerTally& tally() const noexcept { return tally_; }
  [[nodiscard]] std::vector<WorkerStats> workers() const;

  /// Nanoseconds that the present workers have spent on chunks, by their own word.
  [[nodiscard]] std::uint64_t busy() const noexcept;

 private:
  using State = WorkerRecord::State;

  bool take_reports(Clock::time_point now, collect::Deliveries& deliveries);
  void spawned(std::uint32_t worker, ForkServer::Event event);
  void exited(std::uint32_t worker, ExitStatus exit, Clock::time_point now,
              collect::Deliveries& deliveries);
  [[nodiscard]] bool holds_item_to_retry(std::uint32_t worker) const;
  void bury_lingering(Clock::time_point now, collect::Deliveries& deliveries);
  bool drain(std::uint32_t worker, collect::OpenRuns open_runs, collect::Deliveries& deliveries);

  // bury.cpp
  void bury(std::uint32_t worker, ExitStatus exit, Clock::time_point now,
            collect::Deliveries& deliveries);
  void settle_claims(std::uint32_t worker, collect::Deliveries& deliveries);
  void settle_claim(std::uint32_t worker, std::uint32_t slot, collect::Deliveries& deliveries);
  [[nodiscard]] std::uint32_t begun_items(std::uint32_t worker, const submit::Chunk& chunk) const;
  void blame(std::uint32_t worker, submit::Chunk& chunk, std::uint32_t items,
             collect::Deliveries& deliveries);
  void requeue_rest(submit::Chunk::Owner chunk);
  void lay_to_rest(std::uint32_t worker, Clock::time_point now);
  void replace(std::uint32_t worker, bool failed_start, Clock::time_point now);
  void lose_server(Clock::time_point now, collect::Deliveries& deliveries);

  // full_reset.cpp
  struct Named {
    std::uint64_t ticket;  ///< modulo what a progress word holds
    std::uint32_t worker;
    friend auto operator<=>(const Named&, const Named&) = default;
  };
  [[nodiscard]] std::vector<Named> named_chunks() const;
  [[nodiscard]] bool claims_are_sound() const;
  [[nodiscard]] bool may_hold(std::uint32_t worker, std::size_t chunks) const;
  void begin_reset() noexcept;
  [[nodiscard]] bool all_fallen() const noexcept;
  void finish_reset(Clock::time_point now, collect::Deliveries& deliveries);
  [[nodiscard]] std::size_t without_trace() const;
  void settle_unclaimed(submit::Chunk& chunk, const std::vector<Named>& named,
                        std::size_t& suspects, collect::Deliveries& deliveries);

  // deadlines.cpp
  void check_deadlines(Clock::time_point now, collect::Deliveries& deliveries);
  [[nodiscard]] std::optional<Clock::time_point> check_deadline(std::uint32_t slot,
                                                                submit::Chunk& chunk,
                                                                std::uint32_t worker,
                                                                Clock::time_point now,
                                                                collect::Deliveries& deliveries);
  [[nodiscard]] bool expire(std::uint32_t slot, submit::Chunk& chunk, std::uint32_t worker,
                            ring::Progress seen, collect::Deliveries& deliveries);
  void take_back_stop(std::uint32_t worker) noexcept;

  void start_due(Clock::time_point now);
  void kill(std::uint32_t worker) noexcept;
  void wake_at(Clock::time_point when) noexcept;

  ForkServer server_;
  std::vector<WorkerRecord> workers_;
  std::span<ring::StopWord> stops_;
  submit::Dispatcher& dispatcher_;
  collect::Collector& collector_;
  RestartPolicy policy_;
  /// So many deaths of a chunk's holders in a row, with no item settled or begun in between, are no
  /// chance: a task must have wiped the progress word. Then the next item is blamed.
  std::size_t unexplained_deaths_;
  /// A bundle that a worker has held for so long takes more time than was expected of it.
  std::chrono::nanoseconds late_bundle_;
  WorkerTally tally_;
  std::exception_ptr broken_;
  // Written once, before `broken_`: what the last initializer threw, encoded, if it was that.
  std::vector<std::byte> cause_;
  pid_t cause_pid_ = 0;
  bool buried_ = false;
  bool ending_ = false;            ///< no replacements any more
  bool resetting_ = false;         ///< the claim words count for nothing until all workers are dead
  std::size_t barren_resets_ = 0;  ///< since an outcome
  Clock::time_point audited_{};
  std::size_t absent_ = 0;     ///< workers due to be started again
  std::size_t lingering_ = 0;  ///< workers that are buried once the kernel has ended them
  std::uint32_t next_to_wake_ = 0;
  std::optional<Clock::time_point> timer_;
};

}  // namespace libpool::supervise
