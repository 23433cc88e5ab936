/// ThreadPool: the contract of `ProcessPool` on threads of this process.
///
/// Runs in the parent. Neighbours: the calls that both pools share, and the core, which has the
/// threads.
#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

#include <libpool/detail/export.hpp>
#include <libpool/detail/pool_calls.hpp>
#include <libpool/detail/thread_job.hpp>
#include <libpool/options.hpp>

namespace libpool {

namespace detail {
class ThreadCore;
}

/// A pool of threads with every call of `ProcessPool`, of which a program changes one type name to
/// compare them.
///
/// What differs: `f` may be any callable (but none whose result is a reference, so no pointer to a
/// data member), and values are moved or shared instead of serialised. A
/// crash in a task ends the program. Exceptions arrive as the original objects. Tasks see the
/// program's memory as it is. A thread cannot be killed: a `timeout` decides the outcome while the
/// thread runs on and a fresh one takes its place; `cancel()` of a running call returns false;
/// `terminate()` drops what is queued, wakes every waiter at once, and `join()` waits for what
/// runs. `max_tasks_per_child` starts a fresh thread; `retries` and `memory_limit` have no effect.
///
/// A function whose call operator is const is shared by the threads; another is copied for each
/// chunk. Elements of an lvalue or a view are copied for the tasks of a blocking call, because
/// these may outlast it (a timeout, `terminate()`).
///
/// A task that waits for work of its own pool occupies a worker meanwhile; when all do, none is
/// left to do it.
///
/// Thread-safe. The destructor does `terminate()` and `join()`, and must not run in a task or
/// callback of the pool. In a process other than the one that made the pool, every member throws
/// `PoolError` and the destructor does nothing.
class LIBPOOL_EXPORT ThreadPool : public detail::PoolCalls<ThreadPool> {
 public:
  /// Starts the threads. Throws `std::invalid_argument` for no or more than 4096 workers and for
  /// options that cannot be obeyed, and `std::system_error` if a thread cannot be started. An
  /// initializer that throws is tried again as often as `restart_intensity` allows; then the pool
  /// is broken.
  explicit ThreadPool(std::size_t workers = available_parallelism(), PoolOptions options = {});
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

 private:
  friend detail::PoolCalls<ThreadPool>;

  [[nodiscard]] detail::PoolCore& core() const noexcept;
  [[nodiscard]] detail::Lookahead lookahead() const noexcept;

  /// Any callable will do.
  template <class F, class Source>
  static constexpr void check_task() noexcept {}

  template <class F, class Source, class Store>
  void start(F function, Source source, const std::shared_ptr<Store>& store) {
    submit(std::make_shared<detail::TypedThreadJob<F, Source, Store>>(std::move(function),
                                                                      std::move(source), store));
  }
  void submit(std::shared_ptr<detail::ThreadJob> job);

  std::shared_ptr<detail::ThreadCore> core_;
};

}  // namespace libpool
