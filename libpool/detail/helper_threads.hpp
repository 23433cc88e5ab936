/// Threads of the parent that run what the user may make slow: callbacks, and steps of lazy inputs.
///
/// Runs in the parent; each pool has its own. Neighbours: batches post callbacks, the cores post
/// feeding steps. A program whose calls all block never starts one.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include <libpool/detail/export.hpp>

namespace libpool::detail {

/// A cached pool that grows on demand: a posted function finds an idle thread or gets a new one, so
/// that a slow one delays no other until the bound is reached. All members are thread-safe; call
/// them without locks that a posted function may want.
class LIBPOOL_EXPORT HelperThreads {
 public:
  /// `limit`: the most threads at once; zero means one.
  explicit HelperThreads(std::size_t limit) : limit_(limit == 0 ? 1 : limit) {}
  HelperThreads(const HelperThreads&) = delete;
  HelperThreads& operator=(const HelperThreads&) = delete;
  ~HelperThreads() { stop(); }

  /// Runs `function`, which must not throw, on one of the threads. Where no thread can be started
  /// and none is there, the function runs in the calling thread before this returns; so it does
  /// after `stop()`. Throws `std::bad_alloc`, having done nothing.
  void post(std::function<void()> function);

  /// Waits until all that was posted has run, also what those functions posted. Not for a posted
  /// function.
  void drain();

  /// `drain()`, then ends the threads. Idempotent; not for a posted function.
  void stop();

  /// Threads that exist now.
  [[nodiscard]] std::size_t count() const;

 private:
  void run();
  bool start_thread() noexcept;

  const std::size_t limit_;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::deque<std::function<void()>> posted_;
  std::vector<std::thread> threads_;
  std::size_t idle_ = 0;
  std::size_t running_ = 0;  ///< functions
  bool stopped_ = false;
  std::condition_variable work_;
  std::condition_variable drained_;
  std::mutex stop_mutex_;  ///< one `stop` at a time; taken before mutex_
};

}  // namespace libpool::detail
