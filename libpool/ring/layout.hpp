/// What lies where in a pool's shared memory: pure arithmetic that parent and workers compute
/// alike.
///
/// Runs in the parent and in workers. Three segments: tasks (workers read), claims (all write),
/// lanes (each worker maps its own). No death changes a layout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <libpool/ring/event_count.hpp>
#include <libpool/ring/pool_description.hpp>
#include <libpool/ring/result_ring.hpp>
#include <libpool/ring/stop_word.hpp>
#include <libpool/ring/task_ring.hpp>

namespace libpool::ring {

[[nodiscard]] constexpr std::size_t round_up(std::size_t bytes, std::size_t unit) noexcept {
  return (bytes + unit - 1) / unit * unit;
}

/// Tasks: waiting word, stop words, descriptors, then the arena from a page boundary on.
class TaskLayout {
 public:
  explicit constexpr TaskLayout(const PoolDescription& pool) noexcept
      : workers_(pool.workers), slots_(pool.task_slots), arena_(pool.task_memory) {}

  [[nodiscard]] constexpr std::size_t stops_offset() const noexcept { return 64; }
  [[nodiscard]] constexpr std::size_t descriptors_offset() const noexcept {
    return round_up(stops_offset() + workers_ * sizeof(StopWord), 64);
  }
  [[nodiscard]] constexpr std::size_t arena_offset() const noexcept {
    return round_up(descriptors_offset() + slots_ * sizeof(TaskDescriptor), page_size);
  }
  [[nodiscard]] constexpr std::size_t total() const noexcept {
    return arena_offset() + round_up(arena_, page_size);
  }

  [[nodiscard]] WaitingWord& waiting(std::byte* base) const noexcept {
    return *reinterpret_cast<WaitingWord*>(base);
  }
  [[nodiscard]] std::span<StopWord> stops(std::byte* base) const noexcept {
    return {reinterpret_cast<StopWord*>(base + stops_offset()), workers_};
  }
  [[nodiscard]] std::span<TaskDescriptor> descriptors(std::byte* base) const noexcept {
    return {reinterpret_cast<TaskDescriptor*>(base + descriptors_offset()), slots_};
  }

 private:
  std::size_t workers_;
  std::size_t slots_;
  std::size_t arena_;
};

/// Claims: the scan hint, then the claim words.
class ClaimLayout {
 public:
  explicit constexpr ClaimLayout(const PoolDescription& pool) noexcept : slots_(pool.task_slots) {}
  [[nodiscard]] constexpr std::size_t total() const noexcept {
    return round_up(sizeof(ScanHint) + slots_ * sizeof(ClaimWord), page_size);
  }
  [[nodiscard]] ScanHint& hint(std::byte* base) const noexcept {
    return *reinterpret_cast<ScanHint*>(base);
  }
  [[nodiscard]] std::span<ClaimWord> claims(std::byte* base) const noexcept {
    return {reinterpret_cast<ClaimWord*>(base + sizeof(ScanHint)), slots_};
  }

 private:
  std::size_t slots_;
};

/// Lanes: for each worker a page for the header, then its ring; `stride` bytes apart, so that each
/// can be mapped alone. The first `first` bytes of each are reserved from the start.
class LaneLayout {
 public:
  explicit constexpr LaneLayout(const PoolDescription& pool) noexcept
      : workers_(pool.workers), ring_(pool.result_ring) {}
  [[nodiscard]] constexpr std::size_t stride() const noexcept {
    return lane_header_bytes + round_up(ring_, page_size);
  }
  [[nodiscard]] constexpr std::size_t first() const noexcept {
    return lane_header_bytes + round_up(first_part(ring_), page_size);
  }
  [[nodiscard]] constexpr std::size_t offset(std::uint32_t worker) const noexcept {
    return worker * stride();
  }
  [[nodiscard]] constexpr std::size_t total() const noexcept { return workers_ * stride(); }
  [[nodiscard]] LaneHeader& header(std::byte* lane) const noexcept {
    return *reinterpret_cast<LaneHeader*>(lane);
  }
  [[nodiscard]] std::span<std::byte> ring(std::byte* lane) const noexcept {
    return {lane + lane_header_bytes, ring_};
  }

 private:
  std::size_t workers_;
  std::size_t ring_;
};

}  // namespace libpool::ring
