/// Threads of the parent that run what the user may make slow: callbacks, and steps of lazy inputs.
///
/// Runs in the parent; each pool has its own. Neighbours: batches post callbacks, the cores post
/// feeding steps. A program whose calls all block never starts one.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <libpool/detail/chain.hpp>
#include <libpool/detail/errand.hpp>
#include <libpool/detail/export.hpp>

namespace libpool::detail {

/// A cached pool that grows on demand: an errand finds an idle thread or gets a new one, so that a
/// slow one delays no other until the bound is reached. All members are thread-safe; call them
/// without locks that an errand may want.
class LIBPOOL_EXPORT HelperThreads {
 public:
  /// While a thread waits for a job of a pool. If it is a helper thread, another may take its place
  /// meanwhile: what it waits for may need one.
  class Waiting {
   public:
    Waiting() noexcept;
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    ~Waiting();
  };

  /// `limit`: the most threads at once, those that wait for jobs not counted; zero means one.
  explicit HelperThreads(std::size_t limit) noexcept : limit_(limit == 0 ? 1 : limit) {}
  HelperThreads(const HelperThreads&) = delete;
  HelperThreads& operator=(const HelperThreads&) = delete;
  ~HelperThreads() { stop(); }

  /// Makes sure that there is a thread, so that whatever is posted later finds one. Throws
  /// `std::bad_alloc` and `std::system_error`. Does nothing after `stop()`.
  void prepare();

  /// Has one of the threads perform the errand, which must not be posted again before that begins.
  /// Where no thread is there and none can be started, the calling thread does before this returns;
  /// so it does after `stop()`.
  void post(std::shared_ptr<Errand> errand) noexcept;

  /// Tells all errands, posted now or later or under way, that the pool is terminated. Takes no
  /// memory. Not twice.
  void terminate(const std::exception_ptr& reason) noexcept;

  /// Waits until all that was posted is done, also what those errands posted. Not for an errand.
  void drain();

  /// `drain()`, then ends the threads. Idempotent; not for an errand.
  void stop();

  /// Threads that exist now.
  [[nodiscard]] std::size_t count() const;

 private:
  struct Helper {
    std::thread thread;
    std::shared_ptr<Errand> errand;  ///< under way; guarded by mutex_
    bool told = false;               ///< that the pool is terminated; guarded by mutex_
  };

  void run(Helper& self);
  [[nodiscard]] bool may_start_thread() const noexcept {
    return helpers_.size() - waiting_ < limit_;
  }
  void start_thread();
  bool try_start_thread() noexcept;
  void begin_wait() noexcept;
  void end_wait() noexcept;

  static thread_local HelperThreads* of_this_thread;

  const std::size_t limit_;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  Chain<std::shared_ptr<Errand>> posted_;
  std::vector<std::unique_ptr<Helper>> helpers_;
  std::size_t idle_ = 0;
  std::size_t waiting_ = 0;  ///< helpers that wait for jobs
  std::size_t running_ = 0;  ///< errands
  bool stopped_ = false;
  std::exception_ptr terminated_;  ///< the reason, once the pool is terminated
  std::condition_variable work_;
  std::condition_variable drained_;
  std::mutex stop_mutex_;  ///< one `stop` at a time; taken before mutex_
};

}  // namespace libpool::detail
