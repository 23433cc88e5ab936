/// Threads of the parent that run what the user may make slow: callbacks, and steps of lazy inputs.
///
/// Runs in the parent; each pool has its own. Neighbours: batches post callbacks, the cores post
/// feeding steps. A program whose calls all block never starts one.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
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
  /// `limit`: the most threads at once; zero means one.
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

  /// Waits until all that was posted is done, also what those errands posted. Not for an errand.
  void drain();

  /// `drain()`, then ends the threads. Idempotent; not for an errand.
  void stop();

  /// Threads that exist now.
  [[nodiscard]] std::size_t count() const;

 private:
  void run();
  bool start_thread() noexcept;

  const std::size_t limit_;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  Chain<std::shared_ptr<Errand>> posted_;
  std::vector<std::thread> threads_;
  std::size_t idle_ = 0;
  std::size_t running_ = 0;  ///< errands
  bool stopped_ = false;
  std::condition_variable work_;
  std::condition_variable drained_;
  std::mutex stop_mutex_;  ///< one `stop` at a time; taken before mutex_
};

}  // namespace libpool::detail
