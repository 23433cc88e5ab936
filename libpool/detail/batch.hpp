/// A batch as a pool's core sees it: what it may pull, what became of its items, who waits for it.
///
/// Runs in the parent, in both pools. Neighbours: the calls of the pools make batches, a core (`PoolCore`)
/// feeds and settles them, handles and ranges wait for them. No worker ever sees one; a worker's
/// death reaches a batch as one `fail`.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include <libpool/pool_stats.hpp>

namespace libpool::detail {

class PoolCore;

using Clock = std::chrono::steady_clock;
using Deadline = std::optional<Clock::time_point>;  ///< unset: wait without limit

/// Who pulls a batch's input. Only one thread does at a time.
enum class Feeding : std::uint8_t {
  by_caller,  ///< the thread that blocks in `map` or `apply`, inside `PoolCore::wait`
  at_submit,  ///< the submitting thread at once: a single item, never refused for lack of room
  by_helper,  ///< a helper thread of the parent: inputs that may be slow, of calls that do not block
};

/// The untyped half of a batch; `ResultStore`s derive from it and keep the outcomes.
///
/// Life: running -> (all items settled, or abandoned) -> concluding (callback) -> done.
/// All members are thread-safe unless said otherwise.
class Batch : public std::enable_shared_from_this<Batch> {
 public:
  /// Immutable after construction.
  struct Terms {
    Feeding feeding = Feeding::by_caller;
    std::chrono::nanoseconds timeout{0};  ///< per item; zero: none
    std::size_t retries = 0;
  };

  explicit Batch(Terms terms) : terms_(terms) {}
  virtual ~Batch() = default;
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  [[nodiscard]] const Terms& terms() const noexcept { return terms_; }

  /// Set by the core in `submit`, before any other thread sees the batch.
  void attach(std::shared_ptr<PoolCore> core) noexcept { core_ = std::move(core); }

  // -- feeding: called by the core on the feeding thread --------------------------------------

  /// How many items the next chunk may hold: at least one, or zero while the window is full
  /// (then the batch calls `PoolCore::room_appeared` as soon as it is not).
  [[nodiscard]] virtual std::size_t next_chunk() = 0;

  /// `items` more items have been pulled. Their indices follow those pulled before.
  void pulled(std::size_t items);

  /// The input has ended, by its own end or by throwing `error`. Called once.
  void end_input(std::exception_ptr error);

  /// Items pulled so far; the index of the next one.
  [[nodiscard]] std::size_t pulled() const;

  // -- settling: called by the core; each index is settled once, by a typed `store` of the
  //    derived class or by `fail` -----------------------------------------------------------------

  /// The item's outcome is this error. Discarded when the batch is abandoned. Never throws.
  virtual void fail(std::size_t index, std::exception_ptr error) noexcept = 0;

  // -- ends ------------------------------------------------------------------------------------

  /// Ends the batch at once with this error (cancelled, terminated, broken): all later outcomes
  /// are discarded. True if this call ended it, false if it had concluded or was abandoned.
  /// `at_once`: waiters wake before the callback runs (a terminated pool), not after it.
  bool abandon(std::exception_ptr reason, bool at_once);

  /// Abandoned: the core may drop its chunks and stop feeding.
  [[nodiscard]] bool abandoned() const;

  /// The pool has been closed: windows open, so that nothing waits for a consumer.
  virtual void pool_closed() = 0;

  /// The outcome is there, and the callback has returned.
  [[nodiscard]] bool done() const;

 protected:
  // The implementation (batch.cpp and the typed stores) adds its members here.
  const Terms terms_;
  std::shared_ptr<PoolCore> core_;
};

/// What both pools' cores offer to the typed calls. All members are thread-safe.
class PoolCore : public std::enable_shared_from_this<PoolCore> {
 public:
  PoolCore() = default;
  PoolCore(const PoolCore&) = delete;
  PoolCore& operator=(const PoolCore&) = delete;
  virtual ~PoolCore() = default;

  /// Waits until `ready()`; false if `deadline` passed first. The calling thread may drive the
  /// pool meanwhile, and feeds `batch` if its feeding is `by_caller`. `ready` is called without any
  /// lock of the core, again after each `notify`.
  virtual bool wait(Batch& batch, const std::function<bool()>& ready, Deadline deadline) = 0;

  /// Something that a `ready` looks at has changed.
  virtual void notify() noexcept = 0;

  /// `batch.next_chunk()` may be non-zero again.
  virtual void room_appeared(Batch& batch) noexcept = 0;

  /// Cancels; true exactly when the batch ends as cancelled by this call.
  virtual bool cancel(Batch& batch) = 0;

  /// Runs `callback` on a helper thread, soon; `join` waits for it. `callback` does not throw.
  virtual void call_back(std::function<void()> callback) = 0;

  /// Throws `PoolError` in a process other than the one that made the pool.
  virtual void check_process() const = 0;

  [[nodiscard]] virtual std::size_t size() const noexcept = 0;
  [[nodiscard]] virtual PoolStats stats() = 0;
  virtual void close() = 0;
  virtual void terminate() = 0;
  virtual void join() = 0;
};

}  // namespace libpool::detail
