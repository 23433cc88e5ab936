/// The engine of a process pool: jobs in, outcomes out, and whose thread turns the crank.
///
/// Runs in the parent. It owns the parts (dispatcher, collector, supervisor) and the one mutex that
/// guards them. One thread at a time has the driver's role: a caller that blocks anyway, so that
/// results cross no extra thread, or, when calls that do not block are pending, a thread of the
/// engine's own. Whatever a worker's death changes is settled in a driver's round.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <libpool/collect/collector.hpp>
#include <libpool/collect/deliveries.hpp>
#include <libpool/detail/helper_threads.hpp>
#include <libpool/detail/process_core.hpp>
#include <libpool/engine/segments.hpp>
#include <libpool/submit/dispatcher.hpp>
#include <libpool/submit/feeder.hpp>
#include <libpool/submit/pace.hpp>
#include <libpool/submit/payload_memory.hpp>
#include <libpool/supervise/supervisor.hpp>

namespace libpool::engine {

using detail::Batch;
using detail::Clock;
using detail::Deadline;

class Engine final : public detail::ProcessCore {
 public:
  Engine(const ring::PoolDescription& pool, const PoolOptions& options);

  void submit(std::shared_ptr<Batch> batch, std::unique_ptr<detail::ChunkCodec> codec) override;
  const codec::ModuleMap& modules() const noexcept override { return *modules_; }

  bool wait(Batch& batch, const std::function<bool()>& ready, Deadline deadline) override;
  void notify() noexcept override;
  void room_appeared(Batch& batch) noexcept override;
  bool cancel(Batch& batch) override;
  void call_back(std::shared_ptr<detail::Errand> callback) noexcept override {
    helpers_.post(std::move(callback));
  }
  std::size_t size() const noexcept override { return pool_.workers; }
  PoolStats stats() override;
  void close() override;
  void terminate() override;
  void join() override;

 private:
  using Lock = std::unique_lock<std::mutex>;
  /// When threads that take outcomes in by the way come so often, the background thread stays out
  /// of their way.
  static constexpr std::uint64_t flood = 32;
  enum class Stage : std::uint8_t { open, closed, terminated };

  /// Every job of an engine: a helper thread can feed it.
  struct FedJob final : submit::Job, detail::Errand, std::enable_shared_from_this<FedJob> {
    void perform() noexcept override;
  };

  /// The driver's role, held by this thread while this lives. The lock may be open at its end, and
  /// is then closed.
  class Role {
   public:
    Role(Engine& engine, Lock& lock) noexcept : engine_(engine), lock_(lock) {
      engine_.driving_ = engine_.first_round_ = true;
    }
    Role(const Role&) = delete;
    Role& operator=(const Role&) = delete;
    ~Role();

   private:
    Engine& engine_;
    Lock& lock_;
  };

  // Driving (engine.cpp). The functions with a Lock are called with it held and may let go of it
  // meanwhile.
  bool drive(Lock& lock, const std::shared_ptr<submit::Job>& feeds,
             const std::function<bool()>& ready, Deadline deadline);
  bool round(Lock& lock);
  bool turn(Lock& lock);
  template <class Step>
  bool survive(Lock& lock, Step step);
  void publish_and_wake() noexcept;
  void deliver(collect::Deliveries& deliveries, Lock& lock) noexcept;
  void destroy_spent(Lock& lock) noexcept;
  void sleep(Lock& lock, Deadline deadline);
  void kick(const Lock& lock) noexcept;
  void wake_followers(const Lock& lock) noexcept;
  [[nodiscard]] std::chrono::nanoseconds time_to_nap() noexcept;
  [[nodiscard]] int rounds_before_rest() const noexcept;
  [[nodiscard]] bool wakes_one(bool busy) const noexcept;
  void wait_for_news(Lock& lock, Deadline deadline, bool of_workers);

  // The background thread (background.cpp).
  void run_background();
  void start_background();
  void stop_background();

  // Feeding (feeding.cpp).
  void feed(const std::shared_ptr<submit::Job>& job) noexcept;
  bool feed_step(const std::shared_ptr<submit::Job>& job, Lock& lock) noexcept;
  submit::Fed feed_single(const std::shared_ptr<submit::Job>& job) noexcept;
  void enqueue(const std::shared_ptr<submit::Job>& job, submit::Fed& fed,
               const Lock& lock) noexcept;
  void settle_failed(const std::shared_ptr<submit::Job>& job, submit::Fed& fed,
                     Lock& lock) noexcept;
  [[nodiscard]] bool may_feed(const submit::Job& job) noexcept;
  void starve(const std::shared_ptr<submit::Job>& job) noexcept;
  void feed_starved(Lock& lock) noexcept;
  void post_feeding(const std::shared_ptr<submit::Job>& job, Lock& lock) noexcept;

  // Jobs and ends (lifecycle.cpp).
  [[nodiscard]] std::shared_ptr<submit::Job> known(const Batch& batch) const noexcept;
  [[nodiscard]] std::shared_ptr<submit::Job> fed_by_waiter(const Batch& batch, Deadline deadline);
  void refuse_new_work() const;
  void take_in(Lock& lock);
  void forget_if_over(const std::shared_ptr<submit::Job>& job) noexcept;
  void break_pool(Lock& lock) noexcept;
  void abandon(const std::shared_ptr<submit::Job>& job, const std::exception_ptr& reason,
               bool at_once) noexcept;
  void abandon_all(detail::PoolEnd end, const std::exception_ptr& reason, Lock& lock) noexcept;
  void wait_for_jobs();
  void release_all() noexcept;

  // Immutable after construction.
  const ring::PoolDescription pool_;
  const std::size_t max_in_flight_;
  const std::chrono::nanoseconds bundle_time_;
  const codec::ModuleMap* modules_ = nullptr;
  // What ends jobs also when there is no memory to make another.
  const std::exception_ptr task_cancelled_;
  const std::exception_ptr pool_terminated_;
  const std::exception_ptr no_memory_;  ///< a `PoolBroken`
  Segments segments_;
  submit::PayloadMemory memory_;
  const std::shared_ptr<collect::ResultMemory> result_memory_;
  detail::FileDescriptor kicks_;  ///< eventfd that ends the driver's sleep

  std::mutex mutex_;
  // Guarded by mutex_.
  submit::Dispatcher dispatcher_;
  collect::Collector collector_;
  supervise::Supervisor supervisor_;
  detail::JobList<submit::Job> jobs_;
  submit::Jobs starved_;  ///< jobs that wait for room in the pool, or for somebody to feed them
  Stage stage_ = Stage::open;
  std::exception_ptr broken_;
  collect::Tally tally_;
  submit::Pace pace_;                     ///< of chunks
  std::uint64_t napped_at_ = UINT64_MAX;  ///< chunks that had ended when the driver last napped
  std::uint64_t submitted_ = 0;
  std::uint64_t cancelled_ = 0;
  std::uint64_t visits_ = 0;       ///< of threads that take outcomes in by the way
  std::uint64_t submissions_ = 0;  ///< among them: that fed their item at once
  std::size_t unattended_ = 0;     ///< jobs that nobody blocks for: they need the background thread
  bool driving_ = false;
  bool asleep_ = false;           ///< the driver polls
  bool kicked_ = false;           ///< the driver is to look again before it sleeps
  std::size_t followers_ = 0;     ///< threads that wait in `changed_`
  std::uint64_t generation_ = 0;  ///< counts what followers look at
  std::condition_variable changed_;
  // The background thread waits here with no job, while another thread drives, and for a nap after
  // that.
  std::condition_variable unattended_appeared_;
  std::condition_variable role_given_up_;
  std::condition_variable background_stopped_;
  bool background_stops_ = false;
  /// The background thread: it will drive soon after nobody else does.
  bool napping_ = false;

  // Owned by the driver.
  bool woken_ = true;        ///< from sleep: the fork server or an open run may have something new
  bool first_round_ = true;  ///< of this driver
  int rounds_to_thorough_ = 0;
  Clock::time_point thorough_at_{};
  collect::Deliveries deliveries_;

  std::mutex join_mutex_;   ///< one `join` at a time; taken before mutex_
  bool joined_ = false;     ///< guarded by join_mutex_
  std::thread background_;  ///< started under mutex_, joined under join_mutex_
  detail::HelperThreads helpers_;
};

}  // namespace libpool::engine
