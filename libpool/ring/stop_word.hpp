/// The parent's request that a worker begin nothing more, so that it can be killed for a task
/// without harm to another.
///
/// In the task segment: written by the parent, read by one worker, which looks after each claim
/// and, in chunks with deadlines, after each entry of an item. Without it, a kill meant for one
/// item could hit the next one.
#pragma once

#include <atomic>
#include <cstdint>

namespace libpool::ring {

class StopWord {
 public:
  /// Parent: before it reads the progress word. Seq_cst: either that reading shows what the worker
  /// has begun, or the worker sees the stop before it begins more. Pairs with
  /// `ProgressWord::enter_stoppable` and `ClaimWord::claim`.
  void request() noexcept { word_.store(1, std::memory_order_seq_cst); }

  /// Parent: the worker had moved on; it may go on. Wake it if it is blocked. Seq_cst for
  /// `ParkWord`.
  void take_back() noexcept { word_.store(0, std::memory_order_seq_cst); }

  /// Worker.
  [[nodiscard]] bool requested() const noexcept {
    return word_.load(std::memory_order_seq_cst) != 0;
  }

 private:
  std::atomic<std::uint32_t> word_;
};

}  // namespace libpool::ring
