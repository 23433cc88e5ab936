/// The task ring: one ring of slots that the parent fills and all workers pull from.
///
/// Neighbours: the feeder publishes here, worker loops claim here. A slot is a descriptor, which
/// workers can only read, and a claim word. A death leaves a slot ready (somebody else claims it)
/// or claimed by the dead worker (the parent buries it and publishes again what was not begun).
#pragma once

#include <atomic>
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
  std::uint16_t timed;         ///< 1: items have deadlines
  std::uint16_t eager;         ///< 1: somebody waits for the results one by one
};
inline constexpr std::uint64_t own_memory_offset = UINT64_MAX;
static_assert(sizeof(TaskDescriptor) == 64 && std::is_trivially_copyable_v<TaskDescriptor>);
static_assert(offsetof(TaskDescriptor, begin_item) == 48 && offsetof(TaskDescriptor, eager) == 62);

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

  /// Fills the reserved slot and makes it visible.
  void publish(std::uint32_t slot, const TaskDescriptor& descriptor) noexcept;

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
  std::span<TaskDescriptor> descriptors_;
  std::span<ClaimWord> claims_;
  std::vector<bool> used_;
  std::size_t free_count_;
  std::uint32_t cursor_ = 0;  ///< slots are used in turn, so that scans find old chunks first
};

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
  [[nodiscard]] bool anything_ready() const noexcept;

  [[nodiscard]] const TaskDescriptor& descriptor(std::uint32_t slot) const noexcept {
    return descriptors_[slot];
  }

 private:
  std::span<const TaskDescriptor> descriptors_;
  std::span<ClaimWord> claims_;
  ScanHint* hint_;
  std::uint32_t worker_;
};

}  // namespace libpool::ring
