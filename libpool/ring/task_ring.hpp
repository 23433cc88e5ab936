/// The task ring: one ring of slots that the parent fills and all workers pull from.
///
/// Neighbours: the feeder publishes here, worker loops claim here. A slot is a descriptor, which
/// workers can only read, and a claim word. A death leaves a slot ready (somebody else claims it)
/// or claimed by the dead worker (the parent buries it and publishes again what was not begun).
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include <libpool/codec/function_token.hpp>
#include <libpool/ring/claim_word.hpp>

namespace libpool::ring {

/// What a chunk is. Written by the parent before the slot is published, unchanged until it is
/// released.
struct alignas(64) TaskDescriptor {
  std::uint64_t ticket;
  std::uint64_t
      payload_offset;  ///< in the arena; `own_memory_offset` if the payload has memory of its own
  std::uint64_t call_size;     ///< bytes of the runner's token and the callable, which come first
  std::uint64_t items_offset;  ///< in the payload, of the chunk's items
  std::uint64_t items_size;    ///< bytes of them
  std::uint64_t first_index;   ///< place in the batch of the chunk's first item
  std::uint32_t begin_item;    ///< items of the chunk to run: from here
  std::uint32_t end_item;      ///< up to, not including, here
  std::uint32_t item_stride;   ///< bytes of each item, or zero for items with a length in front
  std::uint8_t timed;          ///< 1: items have deadlines
  std::uint8_t eager;          ///< 1: somebody waits for the results one by one
  std::uint8_t bundled;        ///< 1: a bundle, whose items are taken out of `RemainderWord`
  std::uint8_t zero;
};
inline constexpr std::uint64_t own_memory_offset = UINT64_MAX;
static_assert(sizeof(TaskDescriptor) == 64 && std::is_trivially_copyable_v<TaskDescriptor>);
static_assert(offsetof(TaskDescriptor, begin_item) == 48 && offsetof(TaskDescriptor, timed) == 60);

/// Where scans begin: the slot after the one claimed last. Advice only; any value is harmless.
struct alignas(64) ScanHint {
  std::atomic<std::uint32_t> slot;
};

/// The parent's side. Not thread-safe: guarded by the core's mutex.
class TaskPublisher {
 public:
  TaskPublisher(std::span<TaskDescriptor> descriptors, std::span<ClaimWord> claims);

  /// A free slot, or nothing when the ring is full. It stays reserved until `publish` or `release`.
  [[nodiscard]] std::optional<std::uint32_t> reserve();

  /// Of the reserved slot, to be filled in place. (Put together elsewhere and copied, it would be
  /// read in larger pieces than it was written in, which waits for all stores before: 80 ns here.)
  [[nodiscard]] TaskDescriptor& descriptor(std::uint32_t slot) noexcept {
    return descriptors_[slot];
  }

  /// Makes the reserved slot visible, whose descriptor has this ticket.
  void publish(std::uint32_t slot, std::uint64_t ticket) noexcept {
    // The descriptor was first: a worker reads it as soon as it has claimed the word.
    claims_[slot].publish(ticket);
  }

  /// The slot is free again: its chunk is settled, or its owner is dead and buried.
  void release(std::uint32_t slot);

  /// All words are those of free slots. For slots that are free, when no worker is left: one that
  /// has gone wild may have written to the words of free slots too.
  void wipe() noexcept;

  /// Takes back a chunk that nobody has claimed, and frees its slot; false if a worker was faster.
  [[nodiscard]] bool revoke(std::uint32_t slot, std::uint64_t ticket);

  [[nodiscard]] Claim claim(std::uint32_t slot) const noexcept { return claims_[slot].read(); }
  [[nodiscard]] std::size_t slots() const noexcept { return claims_.size(); }
  [[nodiscard]] std::size_t free_slots() const noexcept { return free_count_; }

 private:
  void set_free(std::size_t slot) noexcept;

  std::span<TaskDescriptor> descriptors_;
  std::span<ClaimWord> claims_;
  std::vector<std::uint64_t> free_;  ///< a bit for each slot
  std::size_t free_count_;
  std::uint32_t cursor_ = 0;  ///< slots are used in turn, so that scans find old chunks first
};

// Inline, so that the result stays in registers, for the same reason as `descriptor`.
inline std::optional<std::uint32_t> TaskPublisher::reserve() {
  if (free_count_ == 0) return std::nullopt;
  // Slots held by slow chunks are passed over; they pin themselves and not the ring.
  std::size_t word = cursor_ / 64;
  std::uint64_t found = free_[word] & (~std::uint64_t{0} << (cursor_ % 64));
  while (found == 0) {
    word = word + 1 == free_.size() ? 0 : word + 1;
    found = free_[word];
  }
  const auto slot =
      static_cast<std::uint32_t>(64 * word) + static_cast<std::uint32_t>(std::countr_zero(found));
  cursor_ = slot + 1 == claims_.size() ? 0 : slot + 1;
  free_[word] &= ~(std::uint64_t{1} << (slot % 64));
  --free_count_;
  return slot;
}

/// A worker's side.
class TaskClaimer {
 public:
  TaskClaimer(std::span<const TaskDescriptor> descriptors, std::span<ClaimWord> claims,
              ScanHint& hint, std::uint32_t worker) noexcept;

  struct Claimed {
    std::uint32_t slot;
    std::uint64_t ticket;
  };

  /// Claims a chunk, about the oldest; nothing if none is ready.
  [[nodiscard]] std::optional<Claimed> claim() noexcept;

  /// Whether a claim could succeed; the second look before a sleep.
  [[nodiscard]] bool anything_ready() const noexcept { return ready_among(claims_.size()); }

  /// The same for the slots where the next chunk will lie unless it was published again: a quick
  /// look, while another one will follow.
  [[nodiscard]] bool next_is_ready() const noexcept {
    return ready_among(std::min<std::size_t>(claims_.size(), 8));
  }

  [[nodiscard]] const TaskDescriptor& descriptor(std::uint32_t slot) const noexcept {
    return descriptors_[slot];
  }

 private:
  [[nodiscard]] bool ready_among(std::size_t slots) const noexcept;

  std::span<const TaskDescriptor> descriptors_;
  std::span<ClaimWord> claims_;
  ScanHint* hint_;
  std::uint32_t worker_;
};

}  // namespace libpool::ring
