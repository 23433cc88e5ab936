/// What is left of a bundle: a 64-bit word of a worker's lane, out of which the worker takes items
/// and the parent takes back the rest.
///
/// A bundle is a chunk in the ring that stands for several chunks of one item each. Both sides
/// change the word by one atomic instruction, so that an item is either begun by the worker or the
/// parent's to publish anew, and never both. A death changes nothing here: the parent's own books
/// say what the worker held.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

namespace libpool::ring {

/// Items of a bundle, at most: the word counts one more.
inline constexpr std::uint32_t max_bundle_items = (std::uint32_t{1} << 20) - 2;

/// The word, unpacked. Items count from the start of the chunk's payload.
struct Remainder {
  std::uint32_t ticket = 0;  ///< the lowest 24 bits
  std::uint32_t end = 0;     ///< no item from here on is to be begun
  std::uint32_t next = 0;    ///< the first item not begun; past `end` once the worker has been told

  [[nodiscard]] constexpr bool open() const noexcept { return next < end; }
  [[nodiscard]] constexpr bool is_of(std::uint64_t full_ticket) const noexcept {
    return ticket == (full_ticket & 0xFFFFFF);
  }

  [[nodiscard]] constexpr std::uint64_t pack() const noexcept {
    return (std::uint64_t{ticket & 0xFFFFFF} << 40) | (std::uint64_t{end & 0xFFFFF} << 20) |
           (next & 0xFFFFF);
  }
  [[nodiscard]] static constexpr Remainder unpack(std::uint64_t word) noexcept {
    return {static_cast<std::uint32_t>(word >> 40),
            static_cast<std::uint32_t>(word >> 20) & 0xFFFFF,
            static_cast<std::uint32_t>(word) & 0xFFFFF};
  }
  friend constexpr bool operator==(const Remainder&, const Remainder&) = default;
};

/// The shared word.
class RemainderWord {
 public:
  /// Worker: of the bundle that it has claimed, the items from `begin` on are to be taken out of
  /// the word. Relaxed: the word speaks for itself.
  void open(std::uint64_t ticket, std::uint32_t begin, std::uint32_t end) noexcept {
    word_.store(Remainder{static_cast<std::uint32_t>(ticket), end, begin}.pack(),
                std::memory_order_relaxed);
  }

  /// Worker: the next item is its own now; false if the parent has it, and all after it. Relaxed:
  /// it is the one word that decides, and nothing is handed over with it.
  // Modelled in tests/model/bundle.pml as take.
  [[nodiscard]] bool take() noexcept {
    return Remainder::unpack(word_.fetch_add(1, std::memory_order_relaxed)).open();
  }

  /// Parent: nothing more of this bundle is to be begun by the worker. Returns the first item that
  /// is the parent's now; nothing if there is none, or if the word does not say what the parent
  /// knows: that the bundle ends at `end`, and that the items before `least` were begun. Relaxed,
  /// as `take`, with which it pairs.
  // Modelled in tests/model/bundle.pml as take_back.
  [[nodiscard]] std::optional<std::uint32_t> take_back(std::uint64_t ticket, std::uint32_t least,
                                                       std::uint32_t end) noexcept {
    std::uint64_t seen = word_.load(std::memory_order_relaxed);
    while (true) {
      const Remainder was = Remainder::unpack(seen);
      if (!was.is_of(ticket) || was.end != end || was.next < least || !was.open()) {
        return std::nullopt;
      }
      if (word_.compare_exchange_weak(seen, Remainder{was.ticket, was.next, was.next}.pack(),
                                      std::memory_order_relaxed)) {
        return was.next;
      }
    }
  }

  /// Parent: a hint at how things stand.
  [[nodiscard]] Remainder read() const noexcept {
    return Remainder::unpack(word_.load(std::memory_order_relaxed));
  }

  /// Parent, after the owner's death: a clean start for the next one.
  void reset() noexcept { word_.store(0, std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> word_;
};
static_assert(sizeof(RemainderWord) == 8);

}  // namespace libpool::ring
