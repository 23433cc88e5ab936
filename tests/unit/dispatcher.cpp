/// Facts about the dispatcher: order, tickets, what is settled, dropped and found, and its books.
#include <libpool/submit/dispatcher.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include <tests/support/core_parts.hpp>
#include <tests/support/replaced.hpp>

using namespace libpool;
using ring::Claim;
using submit::Chunk;
using testing::TestCore;
using testing::TestJob;

namespace {

using Indices = std::vector<std::size_t>;

/// First indices of the chunks that workers claim, in order, until none is ready; all are settled.
Indices run_all(TestCore& core) {
  Indices order;
  while (core.dispatcher.refill(0) != 0 || core.dispatcher.anything_ready()) {
    const auto claimed = core.claim(0);
    order.push_back(core.dispatcher.find(claimed.slot, claimed.ticket)->first_index);
    core.dispatcher.settle(claimed.slot);
  }
  return order;
}

/// Takes all of the arena.
std::vector<submit::TaskPayload> fill(submit::PayloadMemory& memory) {
  std::vector<submit::TaskPayload> payloads;
  while (true) {
    auto payload = memory.allocate(128);
    if (!payload.in_arena()) return payloads;
    payloads.push_back(std::move(payload));
  }
}

detail::Batch::Terms timed() { return {.timeout = std::chrono::seconds(1)}; }

}  // namespace

TEST_CASE("chunks are published in the order of the queue, as far as slots go") {
  TestCore core(4);
  const TestJob test;
  for (std::size_t first = 0; first < 60; first += 10) core.enqueue(test, 10, first);
  CHECK(test.job->waiting == 6);
  CHECK(core.dispatcher.queued_chunks() == 6);
  CHECK(core.dispatcher.refill(7) == 4);
  CHECK(core.dispatcher.refill(7) == 0);
  CHECK(test.job->waiting == 2);
  CHECK(core.dispatcher.has_queue());
  CHECK(core.dispatcher.find(0, 1)->published_at == 7);
  CHECK(run_all(core) == Indices{0, 10, 20, 30, 40, 50});
  CHECK_FALSE(core.dispatcher.has_queue());
  CHECK(test.job->waiting == 0);
  CHECK(test.job->chunks == 0);
  CHECK(core.plain.memory.in_flight() == 0);
}

TEST_CASE("what a worker left comes before new work, and with a new ticket") {
  TestCore core(2);
  const TestJob test;
  for (std::size_t first = 0; first < 40; first += 10) core.enqueue(test, 10, first);
  core.dispatcher.refill(0);
  const auto claimed = core.claim(1);
  auto chunk = core.dispatcher.take(claimed.slot);
  CHECK(chunk->first_index == 0);
  chunk->next = 4;
  core.dispatcher.requeue(std::move(chunk));
  CHECK(test.job->chunks == 4);
  CHECK(test.job->waiting == 3);
  CHECK(core.dispatcher.refill(0) == 1);
  const Chunk* again = core.dispatcher.find(claimed.slot, 3);
  REQUIRE(again != nullptr);
  CHECK(again->first_index == 0);
  CHECK(core.descriptors[claimed.slot].begin_item == 4);
  CHECK(core.descriptors[claimed.slot].end_item == 10);
  CHECK(core.dispatcher.find(claimed.slot, claimed.ticket) == nullptr);
  CHECK(run_all(core).size() == 4);
}

TEST_CASE("a descriptor says what the chunk is") {
  TestCore core;
  const TestJob test({}, timed());
  core.enqueue(test, 3, 1000);
  core.dispatcher.refill(0);
  const auto& descriptor = core.descriptors[0];
  CHECK(descriptor.ticket == 1);
  CHECK(descriptor.items_offset == 0);
  CHECK(descriptor.items_size == 64);
  CHECK(descriptor.payload_offset == 0);
  CHECK(descriptor.first_index == 1000);
  CHECK(descriptor.begin_item == 0);
  CHECK(descriptor.end_item == 3);
  CHECK(descriptor.item_stride == 0);
  CHECK(descriptor.timed == 1);
}

TEST_CASE("find knows the chunks that are published, whatever numbers it is asked for") {
  TestCore core(4);
  const TestJob test;
  core.enqueue(test, 1);
  CHECK(core.dispatcher.find(0, 0) == nullptr);
  CHECK(core.dispatcher.find(0, 1) == nullptr);
  core.dispatcher.refill(0);
  CHECK(core.dispatcher.find(0, 1) != nullptr);
  CHECK(core.dispatcher.find(0, 0) == nullptr);
  CHECK(core.dispatcher.find(0, 2) == nullptr);
  CHECK(core.dispatcher.find(0, UINT64_MAX) == nullptr);
  CHECK(core.dispatcher.find(1, 1) == nullptr);
  CHECK(core.dispatcher.find(4, 1) == nullptr);
  CHECK(core.dispatcher.find(UINT32_MAX, 1) == nullptr);
  core.dispatcher.settle(core.claim(0).slot);
  CHECK(core.dispatcher.find(0, 1) == nullptr);
}

TEST_CASE("a chunk is held by the worker in its claim word and by nobody else") {
  TestCore core;
  const TestJob test;
  core.enqueue(test, 1);
  core.dispatcher.refill(0);
  CHECK_FALSE(core.dispatcher.claimed_by(0, 0));
  (void)core.claim(1);
  CHECK(core.dispatcher.claimed_by(0, 1));
  CHECK_FALSE(core.dispatcher.claimed_by(0, 0));
  core.claims[0].publish(77);
  REQUIRE(core.claims[0].claim(1));
  CHECK_FALSE(core.dispatcher.claimed_by(0, 1));
}

TEST_CASE("dropping a job takes what waits and what is ready, and leaves what workers hold") {
  TestCore core(4);
  const TestJob dropped({}, timed());
  const TestJob kept;
  for (std::size_t first = 0; first < 3; ++first) {
    core.enqueue(dropped, 1, first);
    core.enqueue(kept, 1, 10 + first);
  }
  core.dispatcher.refill(0);
  const auto held = core.claim(0);
  core.dispatcher.drop(*dropped.job);
  CHECK(dropped.job->chunks == 1);
  CHECK(dropped.job->waiting == 0);
  CHECK(kept.job->chunks == 3);
  CHECK(core.dispatcher.find(held.slot, held.ticket)->first_index == 0);
  CHECK(core.dispatcher.has_timed());
  Indices others = run_all(core);
  std::sort(others.begin(), others.end());
  CHECK(others == Indices{10, 11, 12});
  CHECK(core.plain.memory.in_flight() == 128);
  core.dispatcher.settle(held.slot);
  CHECK(dropped.job->chunks == 0);
  CHECK_FALSE(core.dispatcher.has_timed());
  CHECK(core.plain.memory.in_flight() == 0);
}

TEST_CASE("dropping a job when nothing of it is left changes nothing") {
  TestCore core;
  const TestJob gone;
  const TestJob kept;
  core.enqueue(kept, 1);
  core.dispatcher.refill(0);
  core.dispatcher.drop(*gone.job);
  CHECK(gone.job->chunks == 0);
  CHECK(kept.job->chunks == 1);
  CHECK(core.dispatcher.anything_ready());
}

TEST_CASE("items are queued until their chunk is claimed, then running, until they are settled") {
  TestCore core(2);
  const TestJob test;
  core.enqueue(test, 5);
  core.enqueue(test, 7);
  core.enqueue(test, 11);
  CHECK(core.dispatcher.load().queued == 23);
  core.dispatcher.refill(0);
  CHECK(core.dispatcher.load().queued == 23);
  const auto claimed = core.claim(0);
  CHECK(core.dispatcher.load().queued == 18);
  CHECK(core.dispatcher.load().running == 5);
  core.dispatcher.find(claimed.slot, claimed.ticket)->next = 3;
  CHECK(core.dispatcher.load().running == 2);
  core.dispatcher.settle(claimed.slot);
  CHECK(core.dispatcher.load().running == 0);
  CHECK(core.dispatcher.load().queued == 18);
}

TEST_CASE("claimed chunks are visited with their owner; a scribbled word hides its chunk") {
  TestCore core(4);
  const TestJob test;
  for (std::size_t first = 0; first < 4; ++first) core.enqueue(test, 1, first);
  core.dispatcher.refill(0);
  (void)core.claim(1);
  (void)core.claim(0);
  const auto scribbled = core.claim(1);
  core.claims[scribbled.slot].publish(99);
  REQUIRE(core.claims[scribbled.slot].claim(3));
  std::set<std::pair<std::size_t, std::uint32_t>> seen;
  core.dispatcher.visit_claimed([&](std::uint32_t, Chunk& chunk, std::uint32_t owner) {
    seen.emplace(chunk.first_index, owner);
  });
  CHECK(seen == std::set<std::pair<std::size_t, std::uint32_t>>{{0, 1}, {1, 0}});
}

TEST_CASE("a payload waits in the queue for room in the arena, and what is behind it too") {
  TestCore core(4);
  const TestJob test;
  core.enqueue(test, 1, 0);
  CHECK(core.dispatcher.refill(0) == 1);  // the worker has something to do
  auto others = fill(core.plain.memory);
  core.enqueue(test, 1, 1);
  core.enqueue(test, 1, 2);
  CHECK(core.dispatcher.refill(0) == 0);
  CHECK(core.dispatcher.queued_chunks() == 2);
  CHECK_FALSE(core.dispatcher.stuck());
  others.clear();
  CHECK(run_all(core) == Indices{0, 1, 2});
  CHECK(core.plain.memory.in_flight() == 0);
}

TEST_CASE("a payload gets memory of its own rather than wait while a worker has nothing to do") {
  TestCore core(4);
  const TestJob test;
  const auto others = fill(core.plain.memory);
  const std::size_t before = core.plain.memory.in_flight();
  core.enqueue(test, 1, 0);
  core.enqueue(test, 1, 1);
  {
    const testing::Replaced none(
        detail::system_calls.memfd_create,
        +[](const char*, unsigned) { return errno = EMFILE, -1; });
    CHECK(core.dispatcher.refill(7) == 0);
    CHECK(core.dispatcher.stuck());
  }
  CHECK(core.dispatcher.refill(10'000'006) == 0);  // not yet again
  CHECK(core.dispatcher.refill(10'000'007) == 1);
  CHECK(core.dispatcher.find(0, 1)->payload->has_own_memory());
  CHECK_FALSE(core.dispatcher.stuck());
  core.dispatcher.settle(core.claim(0).slot);
  CHECK(core.dispatcher.refill(10'000'007) == 1);
  core.dispatcher.settle(core.claim(0).slot);
  CHECK(core.plain.memory.in_flight() == before);
}

TEST_CASE("chunks are patient while all of them have small results and payloads that are there") {
  TestCore core;
  const TestJob small({.run_result_size = 8}, {.eager = true});
  const TestJob other;
  core.enqueue(small, 1, 0);
  core.enqueue(small, 1, 1);
  CHECK(core.dispatcher.patient_chunks() == 0);  // not published yet
  core.dispatcher.refill(0);
  CHECK(core.dispatcher.patient_chunks() == 2);
  CHECK(core.dispatcher.has_eager());
  core.enqueue(other, 1, 0);
  core.dispatcher.refill(0);
  CHECK(core.dispatcher.patient_chunks() == 0);
  core.dispatcher.drop(*other.job);
  CHECK(core.dispatcher.patient_chunks() == 2);
  core.enqueue(small, 1, 2, 100'000);  // memory of its own
  core.dispatcher.refill(0);
  CHECK(core.dispatcher.patient_chunks() == 0);
  core.dispatcher.drop(*small.job);
  core.enqueue(small, 8, 3);
  core.dispatcher.refill(0);
  CHECK(core.dispatcher.patient_chunks() == 1);
  core.enqueue(small, 9, 11);  // more than fits
  core.dispatcher.refill(0);
  CHECK(core.dispatcher.patient_chunks() == 0);
  core.dispatcher.drop(*small.job);
  CHECK_FALSE(core.dispatcher.has_eager());
  CHECK(core.dispatcher.published_chunks() == 0);
}

TEST_CASE("a payload of its own memory is visited once it is claimed") {
  TestCore core;
  const TestJob test;
  core.enqueue(test, 1, 0);
  core.enqueue(test, 1, 1, 100'000);
  core.dispatcher.refill(0);
  CHECK(core.descriptors[1].payload_offset == ring::own_memory_offset);
  int visits = 0;
  const auto count = [&](Chunk&, std::uint32_t owner) {
    CHECK(owner == 1);
    ++visits;
  };
  core.dispatcher.visit_own_memory(count);
  (void)core.claim(0);
  core.dispatcher.visit_own_memory(count);
  CHECK(visits == 0);
  const auto own = core.claim(1);
  core.dispatcher.visit_own_memory(count);
  CHECK(visits == 1);
  core.dispatcher.settle(own.slot);
  core.dispatcher.visit_own_memory(count);
  CHECK(visits == 1);
}

TEST_CASE("a settled chunk gives its memory back, and is kept until it is taken to be destroyed") {
  TestCore core;
  std::weak_ptr<submit::Job> job;
  {
    const TestJob test;
    job = test.job;
    core.enqueue(test, 1);
    core.dispatcher.refill(0);
  }
  core.dispatcher.settle(core.claim(0).slot);
  CHECK(core.plain.memory.in_flight() == 0);
  CHECK(core.dispatcher.spent_chunks() == 0);  // its outcome is on its way
  core.dispatcher.retire_settled();
  CHECK(core.dispatcher.spent_chunks() == 1);
  CHECK_FALSE(job.expired());
  CHECK(core.dispatcher.take_spent().size() == 1);
  CHECK(job.expired());
  CHECK(core.dispatcher.spent_chunks() == 0);
}

TEST_CASE("everything can be taken back when no worker is left") {
  TestCore core(2);
  const TestJob test;
  for (std::size_t first = 0; first < 4; ++first) core.enqueue(test, 1, first);
  core.dispatcher.refill(0);
  (void)core.claim(0);
  CHECK(core.dispatcher.take_all().size() == 4);
  CHECK(core.dispatcher.load().queued == 0);
  CHECK(core.dispatcher.load().running == 0);
  CHECK(core.plain.memory.in_flight() == 0);
  for (const auto& word : core.claims) CHECK(word.read() == Claim{});
}

namespace {

/// A bundle of eight items from index 100 on, claimed by worker 1, which has begun two.
struct Bundled {
  Bundled() {
    core.enqueue_bundle(test, 8);
    core.dispatcher.refill(0);
    claimed = core.claim(1);
    word().open(claimed.ticket, 0, 8);
    CHECK(word().take());
    CHECK(word().take());
  }
  ring::RemainderWord& word() { return core.lanes[1].header.remainder; }
  Chunk& bundle() { return *core.dispatcher.find(claimed.slot, claimed.ticket); }

  TestCore core{8};
  TestJob test{{.run_result_size = 8}, {.singly = true}};
  ring::TaskClaimer::Claimed claimed{};
};

}  // namespace

TEST_CASE("what a worker has not begun of a bundle is queued anew, one by one") {
  Bundled at;
  CHECK(at.core.dispatcher.has_bundles());
  at.core.enqueue(at.test, 1, 500);
  CHECK(at.core.descriptors[at.claimed.slot].bundled == 1);
  at.core.dispatcher.take_back(1, at.word());
  CHECK_FALSE(at.word().take());
  CHECK(at.bundle().end == 2);
  CHECK(at.test.job->waiting == 7);
  CHECK(at.test.job->chunks == 8);
  CHECK(at.core.dispatcher.refill(0) == 7);
  std::vector<std::pair<std::uint32_t, std::uint32_t>> singles;
  at.core.dispatcher.visit_published([&](std::uint32_t slot, Chunk& chunk, const Claim& claim) {
    if (claim.state != Claim::State::ready || chunk.first_index != 100) return;
    CHECK_FALSE(chunk.bundled);
    const auto& descriptor = at.core.descriptors[slot];
    CHECK(descriptor.items_size == 64);
    singles.emplace_back(descriptor.begin_item, descriptor.end_item);
  });
  CHECK(singles == std::vector<std::pair<std::uint32_t, std::uint32_t>>{
                       {2, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 7}, {7, 8}});
  // The bundle ends with what its worker has begun; the payload with the last item.
  at.core.dispatcher.settle(at.claimed.slot);
  CHECK(at.core.plain.memory.in_flight() != 0);
  CHECK(run_all(at.core).size() == 7);
  CHECK(at.core.plain.memory.in_flight() == 0);
  CHECK(at.test.job->chunks == 0);
  CHECK_FALSE(at.core.dispatcher.has_bundles());
}

TEST_CASE("a worker keeps the item that it is at, and the next ones of its job come one by one") {
  Bundled at;
  at.bundle().next = 1;
  at.core.dispatcher.take_back(1, at.word());
  CHECK(at.bundle().end == 2);
  CHECK(at.core.dispatcher.queued_chunks() == 6);
  CHECK(at.test.job->singly_until > at.test.job->pulled);
}

TEST_CASE("nothing is taken back where nothing is to be had, nor by a word that cannot be true") {
  Bundled at;
  const auto nothing = [&](std::uint32_t worker = 1) {
    at.core.dispatcher.take_back(worker, at.word());
    return at.bundle().end == 8 && at.core.dispatcher.queued_chunks() == 0;
  };
  CHECK(nothing(0));  // another worker's
  at.bundle().next = 2;
  CHECK(nothing());  // the first item that is left is the worker's
  at.bundle().next = 5;
  CHECK(nothing());
  at.bundle().next = 0;
  at.test.job->abandoned = true;
  CHECK(nothing());
  at.test.job->abandoned = false;
  at.word().open(at.claimed.ticket + 1, 2, 8);
  CHECK(nothing());
  at.word().open(at.claimed.ticket, 2, 9);
  CHECK(nothing());
  at.word().open(at.claimed.ticket, 9, ring::max_bundle_items);
  CHECK(nothing());
  at.word().open(at.claimed.ticket, 0, 8);
  CHECK(nothing());
  at.word().open(at.claimed.ticket, 7, 8);
  CHECK(at.word().take());
  CHECK(nothing());
}

TEST_CASE("a worker that waits for the payload of its bundle still gets it") {
  Bundled at;
  at.core.dispatcher.settle(at.claimed.slot);
  at.core.enqueue_bundle(at.test, 8, 100'000);
  at.core.dispatcher.refill(0);
  at.claimed = at.core.claim(1);
  REQUIRE(at.bundle().payload->has_own_memory());
  at.word().open(at.claimed.ticket, 1, 8);
  at.core.dispatcher.take_back(1, at.word());
  CHECK(at.core.dispatcher.queued_chunks() == 7);
  int visits = 0;
  at.core.dispatcher.visit_own_memory([&](Chunk&, std::uint32_t) { ++visits; });
  CHECK(visits == 1);
}
