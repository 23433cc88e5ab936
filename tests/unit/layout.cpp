/// Facts about the layout of shared memory: nothing overlaps, everything is aligned, all of it
/// fits.
#include <libpool/ring/layout.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <type_traits>
#include <vector>

using namespace libpool;
using namespace libpool::ring;

namespace {

/// Pools of many shapes, at the edges of what `describe` makes.
std::vector<PoolDescription> shapes() {
  std::vector<PoolDescription> pools;
  for (const std::uint32_t workers : {1u, 2u, 15u, 16u, 17u, 200u, 4096u}) {
    for (const std::uint32_t slots : {4u, 256u, 1u << 15}) {
      for (const std::uint64_t ring : {4096u, 65536u}) {
        PoolDescription pool;
        pool.workers = workers;
        pool.task_slots = slots;
        pool.task_memory = std::uint64_t{1} << 26;
        pool.result_ring = ring;
        pools.push_back(pool);
      }
    }
  }
  return pools;
}

/// Never read or written: addresses only.
std::byte* const base = reinterpret_cast<std::byte*>(std::uintptr_t{1} << 40);

std::size_t offset_of(const void* object) {
  return static_cast<std::size_t>(static_cast<const std::byte*>(object) - base);
}

}  // namespace

TEST_CASE("what lies in shared memory is plain: no pointers to follow, no constructors to run") {
  CHECK(std::is_standard_layout_v<ring::LaneHeader>);
  CHECK(std::is_trivially_destructible_v<ring::LaneHeader>);
  CHECK(std::is_trivially_destructible_v<ring::ClaimWord>);
  CHECK(std::is_trivially_copyable_v<ring::TaskDescriptor>);
  CHECK(sizeof(ring::ClaimWord) == 8);
  CHECK(sizeof(ring::StopWord) == 4);
  CHECK(sizeof(ring::WaitingWord) <= 64);
}

TEST_CASE("words of different writers lie in different cache lines") {
  CHECK(offsetof(ring::LaneHeader, progress) == 0);
  CHECK(offsetof(ring::LaneHeader, tail) == 64);
  CHECK(offsetof(ring::LaneHeader, head) == 128);
  CHECK(offsetof(ring::LaneHeader, park) == 192);
  CHECK(sizeof(ring::LaneHeader) <= ring::lane_header_bytes);
  CHECK(sizeof(ring::ScanHint) == 64);
}

TEST_CASE("waiting word, stop words, descriptors and arena follow each other without overlap") {
  for (const auto& pool : shapes()) {
    const TaskLayout layout(pool);
    CHECK(offset_of(&layout.waiting(base)) == 0);
    const auto stops = layout.stops(base);
    CHECK(stops.size() == pool.workers);
    CHECK(offset_of(stops.data()) >= sizeof(ring::WaitingWord));
    CHECK(offset_of(stops.data()) % 64 == 0);
    const auto descriptors = layout.descriptors(base);
    CHECK(descriptors.size() == pool.task_slots);
    CHECK(offset_of(descriptors.data()) >= offset_of(stops.data() + stops.size()));
    CHECK(offset_of(descriptors.data()) % 64 == 0);
    CHECK(layout.arena_offset() >= offset_of(descriptors.data() + descriptors.size()));
    CHECK(layout.arena_offset() % page_size == 0);
    CHECK(layout.total() >= layout.arena_offset() + pool.task_memory);
    CHECK(layout.total() % page_size == 0);
  }
}

TEST_CASE("the hint has a cache line of its own before the claim words") {
  for (const auto& pool : shapes()) {
    const ClaimLayout layout(pool);
    const auto claims = layout.claims(base);
    CHECK(claims.size() == pool.task_slots);
    CHECK(offset_of(&layout.hint(base)) == 0);
    CHECK(offset_of(claims.data()) == 64);
    CHECK(layout.total() >= offset_of(claims.data() + claims.size()));
    CHECK(layout.total() % page_size == 0);
  }
}

TEST_CASE("each lane is whole pages of its own: header, then ring") {
  for (const auto& pool : shapes()) {
    const LaneLayout layout(pool);
    CHECK(layout.stride() % page_size == 0);
    CHECK(layout.first() % page_size == 0);
    CHECK(layout.first() == page_size + std::max<std::size_t>(pool.result_ring / 4, page_size));
    CHECK(layout.first() <= layout.stride());
    CHECK(layout.offset(0) == 0);
    CHECK(layout.total() == pool.workers * layout.stride());
    for (std::uint32_t worker = 0; worker < pool.workers; ++worker) {
      std::byte* lane = base + layout.offset(worker);
      const auto ring = layout.ring(lane);
      REQUIRE(offset_of(&layout.header(lane)) == worker * layout.stride());
      REQUIRE(ring.size() == pool.result_ring);
      REQUIRE(offset_of(ring.data()) == worker * layout.stride() + page_size);
      REQUIRE(offset_of(ring.data() + ring.size()) <= (worker + 1) * layout.stride());
    }
  }
}

TEST_CASE("rounding up goes to the next multiple and stays on one") {
  CHECK(round_up(0, 64) == 0);
  CHECK(round_up(1, 64) == 64);
  CHECK(round_up(64, 64) == 64);
  CHECK(round_up(65, 64) == 128);
}
