/// Facts about the task ring: order, wrap, pinned slots, forged hints, and one claim a chunk.
#include <libpool/ring/task_ring.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <random>
#include <set>
#include <thread>
#include <vector>

using namespace libpool::ring;

namespace {

/// Both sides of a ring over plain memory.
struct Ring {
  explicit Ring(std::size_t slots) : descriptors(slots), claims(slots) {}

  [[nodiscard]] TaskClaimer claimer(std::uint32_t worker) {
    return {descriptors, claims, hint, worker};
  }
  /// Publishes a chunk with this ticket; false if the ring is full.
  bool publish(std::uint64_t ticket) {
    const auto slot = publisher.reserve();
    if (!slot) return false;
    publisher.descriptor(*slot).ticket = ticket;
    publisher.descriptor(*slot).payload_offset = ticket * 3;
    publisher.publish(*slot, ticket);
    return true;
  }

  std::vector<TaskDescriptor> descriptors;
  std::vector<ClaimWord> claims;
  ScanHint hint{};
  TaskPublisher publisher{descriptors, claims};
};

}  // namespace

TEST_CASE("an empty ring has nothing to claim") {
  Ring ring(8);
  auto claimer = ring.claimer(0);
  CHECK_FALSE(claimer.claim());
  CHECK_FALSE(claimer.anything_ready());
  CHECK(ring.publisher.free_slots() == 8);
}

TEST_CASE(
    "chunks are claimed in the order of their publication, around the ring and around again") {
  Ring ring(8);
  auto claimer = ring.claimer(5);
  std::uint64_t expected = 1;
  std::uint64_t ticket = 0;
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 1 + round % 8; ++i) REQUIRE(ring.publish(++ticket));
    CHECK(claimer.anything_ready());
    while (const auto claimed = claimer.claim()) {
      CHECK(claimed->ticket == expected);
      CHECK(claimer.descriptor(claimed->slot).ticket == expected);
      CHECK(claimer.descriptor(claimed->slot).payload_offset == expected * 3);
      CHECK(ring.publisher.claim(claimed->slot) == Claim{expected, Claim::State::claimed, 5});
      ring.publisher.release(claimed->slot);
      ++expected;
    }
  }
  CHECK(expected == ticket + 1);
}

TEST_CASE("a full ring is an answer, and a released slot is room for one chunk") {
  Ring ring(4);
  for (std::uint64_t ticket = 1; ticket <= 4; ++ticket) REQUIRE(ring.publish(ticket));
  CHECK(ring.publisher.free_slots() == 0);
  CHECK_FALSE(ring.publish(5));
  auto claimer = ring.claimer(0);
  const auto claimed = claimer.claim();
  CHECK_FALSE(ring.publish(5));
  ring.publisher.release(claimed->slot);
  CHECK(ring.publish(5));
  CHECK_FALSE(ring.publish(6));
}

TEST_CASE("a reserved slot is nobody's to claim until it is published, and can be given back") {
  Ring ring(2);
  auto claimer = ring.claimer(0);
  const auto slot = ring.publisher.reserve();
  REQUIRE(slot);
  CHECK_FALSE(claimer.anything_ready());
  CHECK_FALSE(claimer.claim());
  ring.publisher.release(*slot);
  CHECK(ring.publisher.free_slots() == 2);
}

TEST_CASE("a slow chunk pins its slot and no other") {
  Ring ring(4);
  auto slow = ring.claimer(0);
  auto quick = ring.claimer(1);
  REQUIRE(ring.publish(1));
  const auto pinned = slow.claim();
  REQUIRE(pinned);
  std::uint64_t ticket = 1;
  for (int round = 0; round < 30; ++round) {
    for (int i = 0; i < 3; ++i) REQUIRE(ring.publish(++ticket));
    CHECK_FALSE(ring.publish(ticket + 1));
    std::set<std::uint32_t> slots;
    while (const auto claimed = quick.claim()) {
      slots.insert(claimed->slot);
      ring.publisher.release(claimed->slot);
    }
    CHECK(slots.size() == 3);
    CHECK_FALSE(slots.contains(pinned->slot));
  }
  CHECK(ring.publisher.claim(pinned->slot) == Claim{1, Claim::State::claimed, 0});
}

TEST_CASE("whatever the hint says, every chunk is claimed once") {
  Ring ring(16);
  auto claimer = ring.claimer(0);
  std::mt19937 random(1);
  std::vector<std::uint32_t> hints{0, 1, 15, 16, 17, INT32_MAX, UINT32_MAX, UINT32_MAX - 3};
  for (int i = 0; i < 100; ++i) hints.push_back(static_cast<std::uint32_t>(random()));
  std::uint64_t ticket = 0;
  for (const std::uint32_t hint : hints) {
    std::set<std::uint64_t> expected;
    for (int i = 0; i < 5; ++i) {
      REQUIRE(ring.publish(++ticket));
      expected.insert(ticket);
    }
    while (true) {
      ring.hint.slot = hint;
      const auto claimed = claimer.claim();
      if (!claimed) break;
      CHECK(expected.erase(claimed->ticket) == 1);
      ring.publisher.release(claimed->slot);
    }
    CHECK(expected.empty());
  }
}

TEST_CASE(
    "a revoked chunk is gone and its slot free; a claimed one, or another's, is not revoked") {
  Ring ring(4);
  auto claimer = ring.claimer(0);
  REQUIRE(ring.publish(1));
  REQUIRE(ring.publish(2));
  CHECK_FALSE(ring.publisher.revoke(0, 2));
  CHECK(ring.publisher.revoke(0, 1));
  CHECK(ring.publisher.free_slots() == 3);
  const auto claimed = claimer.claim();
  REQUIRE(claimed);
  CHECK(claimed->ticket == 2);
  CHECK_FALSE(ring.publisher.revoke(claimed->slot, 2));
  CHECK(ring.publisher.free_slots() == 3);
}

TEST_CASE("many threads claim each chunk exactly once, and see what was published with it") {
  constexpr std::uint64_t tickets = 20'000;
  constexpr std::uint32_t workers = 4;
  Ring ring(16);
  std::vector<std::atomic<bool>> done(16);
  std::vector<std::vector<std::uint64_t>> claimed(workers);
  std::atomic<bool> end{false};
  std::atomic<int> mismatches{0};
  {
    std::vector<std::jthread> threads;
    for (std::uint32_t worker = 0; worker < workers; ++worker) {
      threads.emplace_back([&, worker] {
        auto claimer = ring.claimer(worker);
        while (!end) {
          const auto chunk = claimer.claim();
          if (!chunk) {
            std::this_thread::yield();
            continue;
          }
          const TaskDescriptor& descriptor = claimer.descriptor(chunk->slot);
          if (descriptor.ticket != chunk->ticket ||
              descriptor.payload_offset != chunk->ticket * 3) {
            ++mismatches;
          }
          claimed[worker].push_back(chunk->ticket);
          done[chunk->slot] = true;
        }
      });
    }
    std::uint64_t ticket = 0;
    std::uint64_t released = 0;
    while (released < tickets) {
      while (ticket < tickets && ring.publish(ticket + 1)) ++ticket;
      for (std::uint32_t slot = 0; slot < 16; ++slot) {
        if (!done[slot].exchange(false)) continue;
        ring.publisher.release(slot);
        ++released;
      }
    }
    end = true;
  }
  CHECK(mismatches == 0);
  std::vector<int> times(tickets + 1);
  for (const auto& list : claimed) {
    for (const std::uint64_t ticket : list) ++times[ticket];
  }
  for (std::uint64_t ticket = 1; ticket <= tickets; ++ticket) REQUIRE(times[ticket] == 1);
}

TEST_CASE("a word that speaks of another chunk than the slot's is claimed and not run") {
  std::vector<TaskDescriptor> descriptors(4);
  std::vector<ClaimWord> claims(4);
  ScanHint hint{};
  TaskPublisher publisher(descriptors, claims);
  claims[0].publish(9);
  descriptors[1].ticket = 1;
  publisher.publish(1, 1);
  TaskClaimer claimer(descriptors, claims, hint, 3);
  const auto claimed = claimer.claim();
  REQUIRE(claimed);
  CHECK(claimed->slot == 1);
  CHECK_FALSE(claimer.claim());
  CHECK(claims[0].read() == Claim{9, Claim::State::claimed, 3});
  publisher.wipe();
  for (const auto& word : claims) CHECK(word.read() == Claim{});
}
