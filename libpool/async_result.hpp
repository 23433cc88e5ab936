/// AsyncResult: the shared handle of a job that does not block its caller.
///
/// Lives in the parent and stays valid after the pool is gone. Neighbours: the job's store, where
/// the outcome is; the pool's core, which a waiting thread may drive.
#pragma once

#include <chrono>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <libpool/detail/job_store.hpp>
#include <libpool/errors.hpp>
#include <libpool/saturating_nanoseconds.hpp>

namespace libpool {

/// A copyable handle; all copies share one outcome. Any number of threads may call any members, on
/// one handle or on copies.
///
/// Waiting throws `std::logic_error` in this job's own callback, and `PoolError` in a process other
/// than the one that made the pool, unless the outcome is there already. In a task of the same
/// `ThreadPool`, waiting takes that worker out of service: with all of them waiting, nothing runs.
template <class R>
class AsyncResult {
  using Shared = std::add_lvalue_reference_t<std::add_const_t<R>>;  // `void` stays void

 public:
  using value_type = R;

  /// For the pools.
  explicit AsyncResult(std::shared_ptr<detail::JobStore<R>> store) noexcept
      : store_(std::move(store)) {}

  /// Whether the outcome is there, and the callback has returned.
  [[nodiscard]] bool ready() const noexcept { return store_->done(); }

  /// Whether the job succeeded. Throws `std::logic_error` if it is not `ready()`.
  [[nodiscard]] bool successful() const {
    if (!ready()) throw std::logic_error("libpool: the result is not ready");
    return store_->succeeded();
  }

  /// Waits until `ready()`.
  void wait() const { store_->wait(std::nullopt); }

  /// Waits no longer than `timeout` (zero or less: not at all); returns `ready()`.
  template <class Rep, class Period>
  bool wait(const std::chrono::duration<Rep, Period>& timeout) const {
    return store_->wait(detail::deadline_in(timeout));
  }

  /// Waits, then gives the shared value, or throws the job's error.
  Shared get() const& {
    wait();
    return shared_value();
  }
  /// The same, moving the shared value out: afterwards no copy of this handle may read it.
  R get() && {
    wait();
    return moved_value();
  }

  /// As `get()`, but throws `TimeoutError` if the outcome is not there in time (zero or less: now).
  /// Nothing is lost: a later `get` succeeds.
  template <class Rep, class Period>
  Shared get(const std::chrono::duration<Rep, Period>& timeout) const& {
    if (!wait(timeout)) throw TimeoutError();
    return shared_value();
  }
  template <class Rep, class Period>
  R get(const std::chrono::duration<Rep, Period>& timeout) && {
    if (!wait(timeout)) throw TimeoutError();
    return moved_value();
  }

  /// Drops a job that has not begun; kills what runs of it on a `ProcessPool`; on a `ThreadPool`
  /// returns false for one running call, and discards what runs of a batch. True exactly when the
  /// handle becomes `TaskCancelled`. Throws `PoolError` in a foreign process.
  bool cancel() const {
    store_->core().check_process();
    return store_->core().cancel(*store_);
  }

 private:
  Shared shared_value() const {
    if constexpr (std::is_void_v<R>) {
      static_cast<void>(store_->value());
    } else {
      return store_->value();
    }
  }
  R moved_value() const {
    if constexpr (std::is_void_v<R>) {
      static_cast<void>(store_->value());
    } else {
      return std::move(store_->value());
    }
  }

  std::shared_ptr<detail::JobStore<R>> store_;
};

}  // namespace libpool
