/// The claim word of a task slot: one 64-bit word that says whether the slot holds a chunk, which,
/// and whose it is.
///
/// The parent publishes, revokes and releases; a worker makes one transition only, the claim, which
/// names the owner in the same instruction. So a death leaves a slot either unclaimed or claimed by
/// the dead worker, and never "taken by somebody".
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

namespace libpool::ring {

inline constexpr std::uint32_t max_workers = 4096;

/// Tickets number chunks from 1 and are never reused; 48 bits last for years at any rate.
inline constexpr std::uint64_t max_ticket = (std::uint64_t{1} << 48) - 1;

/// The word, unpacked.
struct Claim {
  enum class State : std::uint8_t { free = 0, ready = 1, claimed = 2 };
  std::uint64_t ticket = 0;
  State state = State::free;
  std::uint32_t owner = 0;  ///< worker index, if claimed

  [[nodiscard]] constexpr std::uint64_t pack() const noexcept {
    return (ticket << 16) | (std::uint64_t{static_cast<std::uint8_t>(state)} << 14) | owner;
  }
  [[nodiscard]] static constexpr Claim unpack(std::uint64_t word) noexcept {
    return {word >> 16, static_cast<State>((word >> 14) & 3),
            static_cast<std::uint32_t>(word & 0x3FFF)};
  }
  friend constexpr bool operator==(const Claim&, const Claim&) = default;
};
static_assert(max_workers <= 0x3FFF);

/// The shared word.
class ClaimWord {
 public:
  /// Parent: free -> ready. Release: makes the descriptor and the payload, written before,
  /// visible to the worker whose `claim` reads this. The parent then looks for sleepers, behind a
  /// fence of its own: see `ParkWord::wake`. What was there is not asserted: a worker gone wild may
  /// have scribbled over a free word, which publishing mends.
  // Modelled in tests/model/pool.pml as a step of refill.
  void publish(std::uint64_t ticket) noexcept {
    word_.store(Claim{ticket, Claim::State::ready, 0}.pack(), std::memory_order_release);
  }

  /// Worker: ready -> claimed by `worker`. Returns the ticket, or nothing if there is none to have.
  /// Seq_cst, a full barrier: what follows, a look at the stop word, is not done before it. Pairs
  /// with `publish`.
  // Modelled in tests/model/pool.pml as a step of scan.
  [[nodiscard]] std::optional<std::uint64_t> claim(std::uint32_t worker) noexcept {
    std::uint64_t seen = word_.load(std::memory_order_relaxed);
    Claim claim = Claim::unpack(seen);
    if (claim.state != Claim::State::ready) return std::nullopt;
    claim.state = Claim::State::claimed;
    claim.owner = worker;
    // A stale `seen` fails here: the whole word must still be what was read, so a success always
    // claims exactly the chunk that is there now.
    if (!word_.compare_exchange_strong(seen, claim.pack(), std::memory_order_seq_cst,
                                       std::memory_order_relaxed)) {
      return std::nullopt;
    }
    return claim.ticket;
  }

  /// Parent: ready -> free, for a chunk that is dropped. False if a worker was faster.
  [[nodiscard]] bool revoke(std::uint64_t ticket) noexcept {
    std::uint64_t expected = Claim{ticket, Claim::State::ready, 0}.pack();
    return word_.compare_exchange_strong(expected, 0, std::memory_order_acq_rel,
                                         std::memory_order_relaxed);
  }

  /// Parent: claimed -> free, when every item of the chunk is settled or its owner is dead. The
  /// owner makes no further transition, so a plain store cannot overwrite anybody's.
  void release() noexcept { word_.store(0, std::memory_order_release); }

  /// Either side. Acquire: pairs with `claim`, whose owner it then names.
  [[nodiscard]] Claim read() const noexcept {
    return Claim::unpack(word_.load(std::memory_order_acquire));
  }

  /// Worker: whether a look with `claim` is worth the read-modify-write.
  [[nodiscard]] bool ready() const noexcept {
    return Claim::unpack(word_.load(std::memory_order_seq_cst)).state == Claim::State::ready;
  }

 private:
  std::atomic<std::uint64_t> word_;
};
static_assert(sizeof(ClaimWord) == 8);

}  // namespace libpool::ring
