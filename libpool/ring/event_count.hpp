/// Sleeping until something changed, across processes: the park word of a worker and the doorbell
/// of the parent.
///
/// Both sides follow the same pattern: the sleeper says that it sleeps, then looks once more; the
/// waker changes something, then looks for a sleeper. Both steps are sequentially consistent, so at
/// least one of the two sees the other. A worker that dies asleep, or between being woken and
/// looking, takes a wake with it: the parent wakes again at each burial. A worker that dies before
/// it rings is announced by its death notice.
#pragma once

#include <atomic>
#include <cstdint>

namespace libpool::ring {

/// Where one worker sleeps; in its lane. Only the owner sleeps here and only the parent wakes.
class ParkWord {
 public:
  enum class State : std::uint32_t {
    running = 0,
    idle = 1,      ///< no chunk to claim: any published chunk may wake it
    blocked = 2,   ///< waits for the parent to do something for it (ring space, a stop taken back)
    notified = 3,  ///< woken and not yet running
    looking = 4,   ///< awake, and about to look for a chunk at least once before it sleeps
  };

  /// Worker: has nothing to do, and looks for a chunk from now on. Until it announces its sleep,
  /// and then looks once more, it needs no wake. Relaxed: a parent that sees it late only wakes in
  /// vain.
  void look() noexcept {
    word_.store(static_cast<std::uint32_t>(State::looking), std::memory_order_relaxed);
  }

  /// Worker: announces sleep. The caller must look again at what it waits for, then `sleep` or
  /// `stay`. Seq_cst: ordered before that look; pairs with the parent's look in `wake`.
  // Modelled in tests/model/pool.pml as the last step of scan.
  void announce(State state) noexcept {
    word_.store(static_cast<std::uint32_t>(state), std::memory_order_seq_cst);
  }

  /// Worker: has found something.
  // Modelled in tests/model/pool.pml as a step of park.
  void stay() noexcept {
    word_.store(static_cast<std::uint32_t>(State::running), std::memory_order_relaxed);
  }

  /// Worker: sleeps until woken. Spurious returns of the kernel are absorbed here.
  void sleep(State state) noexcept;

  /// Parent: wakes the worker if it sleeps for this reason; true if it did. Call after publishing
  /// what it waits for. The exchange keeps a second call from waking the same sleeper twice, at the
  /// price of a system call.
  bool wake(State state) noexcept;

  /// Parent: whether the worker looks for chunks and will see those published before this call. The
  /// fence is that of `wake`, for the same race: whoever is seen here announces its sleep later.
  [[nodiscard]] bool looks() const noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return word_.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(State::looking);
  }

  [[nodiscard]] State state() const noexcept {
    return static_cast<State>(word_.load(std::memory_order_seq_cst));
  }

  /// Parent, after the owner's death.
  void reset() noexcept { stay(); }

 private:
  std::atomic<std::uint32_t> word_;
};

/// Whether the parent sleeps. In the task segment, which workers can only read, so that none can
/// silence the others.
class WaitingWord {
 public:
  /// Parent: announces sleep, with a number that no earlier sleep had. The caller must drain once
  /// more, then poll.
  // Modelled in tests/model/pool.pml as the last step of refill.
  void announce() noexcept {
    word_.store(++epoch_of_parent_ * 2 + 1, std::memory_order_relaxed);
    // The last drain reads with acquire loads, which a store alone would not hold back.
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  /// Parent: awake.
  // Modelled in tests/model/pool.pml as awake.
  void clear() noexcept { word_.store(epoch_of_parent_ * 2, std::memory_order_relaxed); }

  /// Worker: the number of the sleep to be ended, or zero. Call after publishing; seq_cst: ordered
  /// after it.
  [[nodiscard]] std::uint32_t sleeping() const noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const std::uint32_t word = word_.load(std::memory_order_relaxed);
    return (word & 1) != 0 ? word : 0;
  }

 private:
  std::atomic<std::uint32_t> word_;
  std::uint32_t epoch_of_parent_;  ///< written and read by the parent only
};

/// The worker's side of the parent's doorbell: a non-blocking pipe whose read end no worker has.
class Doorbell {
 public:
  Doorbell(const WaitingWord& waiting, int write_end) noexcept
      : waiting_(&waiting), write_end_(write_end) {}

  /// Rings if the parent sleeps, once for each of its sleeps. A full pipe needs no ring: the parent
  /// is woken already.
  void ring() noexcept;

 private:
  const WaitingWord* waiting_;
  int write_end_;
  std::uint32_t rung_ = 0;
};

}  // namespace libpool::ring
