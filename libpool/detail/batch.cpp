/// The life of a batch: counting, concluding, callbacks, waking.
///
/// Runs in the parent, on whatever thread settles, ends or waits. Every outcome reaches it once; a
/// worker's death is one of them.
#include <libpool/detail/batch.hpp>

#include <stdexcept>
#include <utility>

#include <libpool/errors.hpp>

namespace libpool::detail {
namespace {

/// The callbacks that the calling thread is in: one may run a blocking call that runs another.
struct CallbackScope {
  CallbackScope(const PoolCore* core, const Batch* batch) noexcept
      : core_(core), batch_(batch), outer_(innermost) {
    innermost = this;
  }
  CallbackScope(const CallbackScope&) = delete;
  CallbackScope& operator=(const CallbackScope&) = delete;
  ~CallbackScope() { innermost = outer_; }

  const PoolCore* core_;
  const Batch* batch_;
  const CallbackScope* outer_;
  static thread_local const CallbackScope* innermost;
};
thread_local const CallbackScope* CallbackScope::innermost = nullptr;

}  // namespace

void Batch::end_input(std::exception_ptr error) noexcept {
  {
    std::lock_guard lock(mutex_);
    if (input_ended_.load()) return;
    input_error_ = std::move(error);
    input_ended_.store(true);
  }
  conclude_if_complete();
}

void Batch::conclude() noexcept {
  bool calls_back = false;
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    if (phase_.load() != Phase::running) return;
    calls_back = has_callback();
    phase_.store(calls_back ? Phase::concluding : Phase::done);
    if (!calls_back) wake = count_change();
  }
  if (calls_back) {
    core_->call_back(shared_from_this());
  } else {
    tell_waiters(wake);
  }
}

bool Batch::abandon(std::exception_ptr reason, bool at_once) noexcept {
  bool ended_it = false;
  {
    std::lock_guard lock(mutex_);
    if (phase_.load() == Phase::done) return false;
    if (phase_.load() == Phase::concluding && !at_once) return false;
    ended_it = phase_.load() == Phase::running;
    // A batch whose callback is still running is overruled too: its waiters must not read a result
    // that the callback is looking at.
    overruling_error_ = std::move(reason);
    abandoned_.store(true);
    phase_.store(at_once ? Phase::done : Phase::concluding);
  }
  if (at_once) changed();
  if (!ended_it) return false;
  if (has_callback()) {
    core_->call_back(shared_from_this());
  } else if (!at_once) {
    finish();
  }
  return true;
}

void Batch::perform() noexcept {
  run_callback();
  finish();
}

void Batch::run_callback() noexcept {
  const CallbackScope scope(core_.get(), this);
  try {
    call_callback();
  } catch (...) {
    std::lock_guard lock(mutex_);
    // Once waiters have been woken (a terminated pool) the outcome must not change any more.
    if (phase_.load() != Phase::done) overruling_error_ = std::current_exception();
  }
}

void Batch::finish() noexcept {
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    if (phase_.load() == Phase::done) return;
    phase_.store(Phase::done);
    wake = count_change();
  }
  tell_waiters(wake);
}

void Batch::changed() noexcept {
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    wake = count_change();
  }
  tell_waiters(wake);
}

/// Under `mutex_`. True if somebody sleeps here.
bool Batch::count_change() noexcept {
  changes_.fetch_add(1);
  return sleepers_ != 0;
}

void Batch::tell_waiters(bool wake) noexcept {
  if (wake) changed_.notify_all();
  core_->notify();
}

bool Batch::wait_change(std::uint64_t seen, Deadline deadline) {
  std::unique_lock lock(mutex_);
  ++sleepers_;
  const auto has_changed = [&] { return changes_.load() != seen; };
  bool in_time = true;
  if (deadline) {
    in_time = changed_.wait_until(lock, *deadline, has_changed);
  } else {
    changed_.wait(lock, has_changed);
  }
  --sleepers_;
  return in_time;
}

bool in_callback_of(const Batch& batch) noexcept {
  const auto* scope = CallbackScope::innermost;
  while (scope != nullptr && scope->batch_ != &batch) scope = scope->outer_;
  return scope != nullptr;
}

bool in_callback_of(const PoolCore& core) noexcept {
  const auto* scope = CallbackScope::innermost;
  while (scope != nullptr && scope->core_ != &core) scope = scope->outer_;
  return scope != nullptr;
}

void PoolCore::refuse_process() { throw PoolError("the pool belongs to another process"); }

void refuse_waiting_in_callback(const Batch& batch) {
  if (in_callback_of(batch)) {
    throw std::logic_error("libpool: a callback cannot wait for its own handle");
  }
}

Deadline deadline_in(SaturatingNanoseconds timeout) noexcept {
  const auto now = Clock::now();
  const auto deadline = saturating_after<Clock>(now, timeout);
  if (deadline == Clock::time_point::max()) return std::nullopt;
  return deadline;
}

}  // namespace libpool::detail
