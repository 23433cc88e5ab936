/// A batch as a pool's core sees it: what it may pull, what became of its items, who waits for it.
///
/// Runs in the parent, in both pools. Neighbours: the calls of the pools make batches, a core
/// (`PoolCore`) feeds and settles them, handles and ranges wait for them. No worker ever sees one;
/// a worker's death reaches a batch as one `fail`.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include <libpool/detail/errand.hpp>
#include <libpool/detail/export.hpp>
#include <libpool/detail/process_identity.hpp>
#include <libpool/pool_stats.hpp>
#include <libpool/saturating_nanoseconds.hpp>

namespace libpool::detail {

class PoolCore;

using Clock = std::chrono::steady_clock;
using Deadline = std::optional<Clock::time_point>;  ///< unset: wait without limit

/// Who pulls a batch's input. Only one thread does at a time.
enum class Feeding : std::uint8_t {
  by_caller,  ///< the thread that blocks in `map` or `apply`, inside `PoolCore::wait`
  at_submit,  ///< the submitting thread at once: a single item, never refused for lack of room
  by_helper,  ///< a helper thread of the parent: inputs that may be slow, of calls that do not
              ///< block
};

/// The untyped half of a batch; the typed stores derive from it and keep the outcomes.
///
/// Life: running -> (all items settled, or abandoned) -> concluding (callback) -> done.
/// All members are thread-safe unless said otherwise. No lock of a batch is held while it calls the
/// core; those marked [leaf] call nothing and may be called under a lock of the core, the others
/// must not.
class LIBPOOL_EXPORT Batch : public std::enable_shared_from_this<Batch>, public Errand {
 public:
  /// Immutable after construction.
  struct Terms {
    Feeding feeding = Feeding::by_caller;
    bool eager = false;                   ///< each result is wanted as soon as it is there
    bool singly = false;                  ///< each item is a chunk by itself
    std::chrono::nanoseconds timeout{0};  ///< per item; zero: none
    std::size_t retries = 0;
    /// A chunk ends with the item by which its encoded arguments are so many bytes.
    std::size_t chunk_bytes = SIZE_MAX;
  };

  explicit Batch(Terms terms) : terms_(terms) {}
  virtual ~Batch() = default;

  /// [leaf]
  [[nodiscard]] const Terms& terms() const noexcept { return terms_; }

  /// Set by the core in `submit`, before any other thread sees the batch. [leaf]
  void attach(std::shared_ptr<PoolCore> core) noexcept { core_ = std::move(core); }
  [[nodiscard]] PoolCore& core() const noexcept { return *core_; }

  /// The job by which the core knows the batch; null while it knows none. Guarded by the core's
  /// mutex. [leaf]
  [[nodiscard]] Errand* job() const noexcept { return job_; }
  void known_as(Errand* job) noexcept { job_ = job; }

  /// Whether a callback is called at the end: then the core makes sure of a thread for it. [leaf]
  [[nodiscard]] virtual bool has_callback() const noexcept { return false; }

  /// Calls it, when the batch has concluded.
  void perform() noexcept final;

  /// Its waiters do not wait for its callback any more.
  void pool_terminated(const std::exception_ptr& reason) noexcept final { abandon(reason, true); }

  // -- feeding: called by the core, by one thread at a time. A step is: `next_chunk`; while it is
  //    not zero, pull at most so many items, and perhaps ask for another chunk; then `pulled` once,
  //    before any of the items can settle; then `end_input` if the input gave no more. If the first
  //    is zero: `input_ended()` tells whether the batch wants no more for good. ---------

  /// How many items the next chunk may hold, when `pulled` have been pulled, those of this step
  /// included: at least one, or zero while the window is full (then the batch calls
  /// `PoolCore::room_appeared` once it is not: a call that may come before this one returns), or
  /// zero for ever once the batch is abandoned or `input_ended()`. In a batch whose items are
  /// chunks by themselves: how many of these may be pulled at once, `bundle` at most.
  [[nodiscard]] virtual std::size_t next_chunk(std::size_t pulled, std::size_t bundle) = 0;

  /// `items` more items have been pulled. Their indices follow those pulled before. [leaf]
  void pulled(std::size_t items) noexcept { pulled_.fetch_add(items); }

  /// The input has ended, by its own end or by throwing `error`. Not within a step, whose items
  /// would be forgotten. A second call does nothing.
  void end_input(std::exception_ptr error) noexcept;

  /// Nothing more will be pulled: the core drops the source. [leaf]
  [[nodiscard]] bool input_ended() const noexcept { return input_ended_.load(); }

  /// Items pulled so far; the index of the next one. [leaf]
  [[nodiscard]] std::size_t pulled() const noexcept { return pulled_.load(); }

  // -- settling: called by the core; each index is settled once, by a typed `store` of the derived
  // class or by
  //    `fail`, or is put without counting (`put`, `put_error` of the derived class) and counted by
  //    `settled` ------------

  /// The item's outcome is this error. Discarded when the batch is abandoned.
  void fail(std::size_t index, std::exception_ptr error) noexcept {
    put_error(index, std::move(error));
    settled(1);
  }

  /// As `fail`, but the item does not count as settled yet.
  virtual void put_error(std::size_t index, std::exception_ptr error) noexcept = 0;

  /// So many more items have been put.
  void settled(std::size_t items) noexcept {
    settled_.fetch_add(items);
    arrived();
    conclude_if_complete();
  }

  // -- ends ------------------------------------------------------------------------------------

  /// Ends the batch at once with this error (cancelled, terminated, broken): all later outcomes are
  /// discarded. True if this call ended it, false if it had concluded or was abandoned. `at_once`:
  /// waiters wake before the callback has run (a terminated pool), not after it, and do so even if
  /// the batch has concluded.
  bool abandon(std::exception_ptr reason, bool at_once) noexcept;

  /// For a batch of one item that cannot be stopped once it runs: true for the first to call this,
  /// of `cancel` and the thread that is about to run it. [leaf]
  [[nodiscard]] bool claim_start() noexcept { return !start_claimed_.exchange(true); }

  /// Abandoned: the core may drop its chunks and stop feeding. [leaf]
  [[nodiscard]] bool abandoned() const noexcept { return abandoned_.load(); }

  /// The pool has been closed: windows open, so that nothing waits for a consumer.
  virtual void pool_closed() noexcept {}

  /// The outcome is there, and the callback has returned. [leaf]
  [[nodiscard]] bool done() const noexcept { return phase_.load() == Phase::done; }

  // -- waiting: an event count. Read `changes`, look at what you wait for, then sleep on that
  // number. --------------

  [[nodiscard]] std::uint64_t changes() const noexcept { return changes_.load(); }

  /// Sleeps until `changes()` differs from `seen`; false if `deadline` passed first.
  bool wait_change(std::uint64_t seen, Deadline deadline);

 protected:
  enum class Phase : std::uint8_t { running, concluding, done };

  /// Items that were put have been settled, perhaps many at once: wakes those that wait for them
  /// one by one.
  virtual void arrived() noexcept {}

  /// Wakes all that wait for the batch. Called without `mutex_`.
  void changed() noexcept;

  /// Calls exactly one of the user's callbacks, and lets through what it throws.
  virtual void call_callback() {}

  // Immutable once the core has taken the batch in.
  const Terms terms_;
  std::shared_ptr<PoolCore> core_;

  Errand* job_ = nullptr;  // guarded by the core's mutex

  std::mutex mutex_;
  // Guarded by mutex_.
  std::exception_ptr input_error_;
  std::exception_ptr overruling_error_;  ///< why it was abandoned, or what its callback threw

 private:
  void conclude_if_complete() noexcept {
    // Each side writes its own word before it reads the other's, so that one of them sees both.
    if (input_ended_.load() && settled_.load() == pulled_.load()) conclude();
  }
  void conclude() noexcept;
  void run_callback() noexcept;
  void finish() noexcept;
  [[nodiscard]] bool count_change() noexcept;
  void tell_waiters(bool wake) noexcept;

  std::atomic<std::size_t> pulled_{0};
  std::atomic<std::size_t> settled_{0};
  std::atomic<bool> input_ended_{false};
  std::atomic<bool> abandoned_{false};
  std::atomic<bool> start_claimed_{false};
  std::atomic<std::uint64_t> changes_{0};  // changes under mutex_

  // Guarded by mutex_.
  std::atomic<Phase> phase_{Phase::running};  // may be read without it
  std::size_t sleepers_ = 0;
  std::condition_variable changed_;
};

/// Whether the calling thread is inside a callback of this batch, or of any batch of this pool.
[[nodiscard]] LIBPOOL_EXPORT bool in_callback_of(const Batch& batch) noexcept;
[[nodiscard]] LIBPOOL_EXPORT bool in_callback_of(const PoolCore& core) noexcept;

/// Throws `std::logic_error` where waiting for the batch would wait for the calling thread itself.
LIBPOOL_EXPORT void refuse_waiting_in_callback(const Batch& batch);

/// Now plus the timeout; unset where that is past the end of the clock.
[[nodiscard]] LIBPOOL_EXPORT Deadline deadline_in(SaturatingNanoseconds timeout) noexcept;

/// What both pools' cores offer to the typed calls. All members are thread-safe, and are called
/// without any lock of a batch.
class LIBPOOL_EXPORT PoolCore : public std::enable_shared_from_this<PoolCore> {
 public:
  PoolCore() = default;
  PoolCore(const PoolCore&) = delete;
  PoolCore& operator=(const PoolCore&) = delete;
  virtual ~PoolCore() = default;

  [[nodiscard]] bool in_own_process() const noexcept { return own_process_.here(); }
  /// Throws `PoolError` in a process other than the one that made the pool.
  void check_process() const {
    if (!in_own_process()) refuse_process();
  }
  /// Throws it in any case.
  [[noreturn]] static void refuse_process();

  /// Waits until `ready()`, which is not asked again once it was true; false if `deadline` passed
  /// first. The calling thread may drive the
  /// pool meanwhile, and feeds `batch` if its feeding is `by_caller`. `ready` is called without any
  /// lock of the core, again after each `notify`.
  virtual bool wait(Batch& batch, const std::function<bool()>& ready, Deadline deadline) = 0;

  /// Something that a `ready` looks at has changed.
  virtual void notify() noexcept = 0;

  /// `batch.next_chunk()` may be non-zero again, or the batch wants no more input: take a feeding
  /// step.
  virtual void room_appeared(Batch& batch) noexcept = 0;

  /// Cancels; true exactly when the batch ends as cancelled by this call.
  virtual bool cancel(Batch& batch) = 0;

  /// Has a helper thread perform `callback`, soon; `join` waits for it.
  virtual void call_back(std::shared_ptr<Errand> callback) noexcept = 0;

  [[nodiscard]] virtual std::size_t size() const noexcept = 0;
  [[nodiscard]] virtual PoolStats stats() = 0;
  virtual void close() = 0;
  virtual void terminate() = 0;
  virtual void join() = 0;

 private:
  const OwnProcess own_process_;
};

}  // namespace libpool::detail
