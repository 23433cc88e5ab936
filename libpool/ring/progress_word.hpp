/// What a worker is doing now, in one 64-bit word of its result lane.
///
/// Written by the worker alone, one store before each phase; read by the parent at any time and,
/// after a death notice, for the last time. A death leaves the word naming the one item that was
/// begun and not published, or none.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace libpool::ring {

/// Bits of a ticket that the progress word has room for; compare tickets modulo this.
inline constexpr std::uint64_t progress_ticket_mask = (std::uint64_t{1} << 40) - 1;

/// Items that a chunk can count.
inline constexpr std::uint32_t max_chunk_items = (std::uint32_t{1} << 20) - 1;

/// Bytes of a result that the step of this word to the next item may publish, see `ResultWriter`;
/// larger ones travel in records of their own.
inline constexpr std::size_t largest_run_result = 256;

enum class Phase : std::uint8_t {
  idle = 0,       ///< between chunks
  claimed = 1,    ///< holds a chunk; no item begun since `item`
  decode = 2,     ///< reading the item's arguments
  run = 3,        ///< in the user's function
  encode = 4,     ///< writing the result
  published = 5,  ///< the item's outcome is in the result ring; its values are being destroyed
  retired = 6,    ///< the agreed farewell: items from `item` on were not begun
};

[[nodiscard]] constexpr const char* describe(Phase phase) noexcept {
  switch (phase) {
    case Phase::decode:
      return "decoding";
    case Phase::run:
      return "running";
    case Phase::encode:
      return "encoding the result of";
    default:
      return "between items of";
  }
}

/// The word, unpacked. Items count from the start of the chunk's payload.
struct Progress {
  std::uint64_t ticket = 0;  ///< modulo `progress_ticket_mask` + 1; zero before the first claim
  std::uint32_t item = 0;
  Phase phase = Phase::idle;

  /// An item has been begun and its outcome is not known to be published.
  [[nodiscard]] constexpr bool begun() const noexcept {
    return phase == Phase::decode || phase == Phase::run || phase == Phase::encode;
  }
  [[nodiscard]] constexpr bool names(std::uint64_t full_ticket) const noexcept {
    return ticket == (full_ticket & progress_ticket_mask);
  }

  [[nodiscard]] constexpr std::uint64_t pack() const noexcept {
    return ((ticket & progress_ticket_mask) << 24) | (std::uint64_t{item & max_chunk_items} << 4) |
           static_cast<std::uint64_t>(phase);
  }
  [[nodiscard]] static constexpr Progress unpack(std::uint64_t word) noexcept {
    return {word >> 24, static_cast<std::uint32_t>(word >> 4) & max_chunk_items,
            static_cast<Phase>(word & 0xF)};
  }
  friend constexpr bool operator==(const Progress&, const Progress&) = default;
};

/// The shared word.
class ProgressWord {
 public:
  /// Worker: names the phase before it begins. Release, so that whoever reads the word sees the
  /// outcomes published before it; pairs with `read`.
  void enter(Progress progress) noexcept {
    word_.store(progress.pack(), std::memory_order_release);
  }

  /// Worker: the same, ordered against a following look at the stop word: either the worker sees
  /// the stop or the parent, which stores the stop before it reads, sees this item begun.
  void enter_stoppable(Progress progress) noexcept {
    word_.store(progress.pack(), std::memory_order_seq_cst);
  }

  /// Parent: pairs with both stores above; seq_cst for the sake of `enter_stoppable`.
  [[nodiscard]] Progress read() const noexcept {
    return Progress::unpack(word_.load(std::memory_order_seq_cst));
  }

  /// Parent, after the owner's death: a clean start for the next one.
  void reset() noexcept { word_.store(0, std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> word_;
};
static_assert(sizeof(ProgressWord) == 8 && std::atomic<std::uint64_t>::is_always_lock_free);

/// The current item's index, for the task's own use: in the worker's private memory.
class TaskIndex {
 public:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  /// Relaxed: a task's own thread reads what it wrote, other threads of it only need some value.
  void set(std::size_t index) noexcept { index_.store(index, std::memory_order_relaxed); }
  [[nodiscard]] std::size_t get() const noexcept { return index_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::size_t> index_{none};
};

}  // namespace libpool::ring
