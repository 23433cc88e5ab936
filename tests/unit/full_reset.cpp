/// Facts about the audit of the claim words: no interrupted worker fails it, every lie that could
/// cost an item does; and about the reset that follows: each item has one outcome, by its worker's
/// lane.
#include <doctest/doctest.h>

#include <cstring>

#include <libpool/supervise/supervisor.hpp>
#include <tests/support/supervised_core.hpp>

using namespace libpool;
using ring::Claim;
using ring::Phase;
using testing::SupervisedCore;
using testing::TestJob;
using Claimed = ring::TaskClaimer::Claimed;
using Outcomes = std::map<std::size_t, std::string>;
using State = Claim::State;

namespace {

void scribble(ring::ClaimWord& word, std::uint64_t value) {
  static_assert(sizeof word == sizeof value);
  std::memcpy(static_cast<void*>(&word), &value, sizeof value);
}

/// Three workers and three chunks of four items, from the indices 100, 200 and 300 on. Worker 0
/// holds the first, worker 1 the second, and the third is ready.
struct Scene {
  explicit Scene(detail::Batch::Terms terms = {}) : pool(3), test({}, terms) {
    REQUIRE(pool.all_alive());
    for (const std::size_t first : {100u, 200u, 300u}) pool.core.enqueue(test, 4, first);
    held[0] = pool.claim(0);
    held[1] = pool.claim(1);
    ready = {pool.core.descriptors[2].ticket == held[1].ticket + 1 ? 2u : 99u, held[1].ticket + 1};
    REQUIRE(ready.slot == 2);
  }
  ring::ClaimWord& word(Claimed of) { return pool.core.claims[of.slot]; }
  void progress(std::uint32_t worker, std::uint32_t item, Phase phase) {
    pool.core.set_progress(worker, held[worker].ticket, item, phase);
  }
  [[nodiscard]] bool all_replaced() {
    return pool.pump_until([&] { return pool.supervisor.tally().spawned == 6; });
  }
  /// The first items of what is queued now, by index; the order is that of the queue.
  std::vector<std::size_t> requeued() {
    std::vector<std::size_t> firsts;
    pool.core.dispatcher.refill(0);
    while (pool.core.dispatcher.anything_ready()) {
      const auto claimed = pool.core.claim(2);
      auto chunk = pool.core.dispatcher.take(claimed.slot);
      firsts.push_back(chunk->index_of(chunk->next));
      pool.core.dispatcher.discard(std::move(chunk));
    }
    return firsts;
  }

  SupervisedCore pool;
  TestJob test;
  Claimed held[2]{};
  Claimed ready{};
};

using Firsts = std::vector<std::size_t>;

std::uint64_t claim_of(std::uint64_t ticket, State state, std::uint32_t owner = 0) {
  return Claim{ticket, state, owner}.pack();
}

}  // namespace

TEST_CASE("whatever a worker that keeps the protocol was interrupted in, the audit passes") {
  Scene at;
  auto& lanes = at.pool.core.lanes;
  const auto sound = [&] { return at.pool.supervisor.audit(); };
  CHECK(sound());  // claimed, and not yet said so
  at.progress(0, 0, Phase::claimed);
  at.progress(1, 2, Phase::run);
  CHECK(sound());
  // Parked before it claims, and woken.
  lanes[2].header.park.announce(ring::ParkWord::State::idle);
  CHECK(sound());
  lanes[2].header.park.announce(ring::ParkWord::State::notified);
  const auto third = at.pool.core.claim(2);
  CHECK(sound());
  at.pool.core.set_progress(2, third.ticket, 0, Phase::decode);
  lanes[2].header.park.announce(ring::ParkWord::State::blocked);
  CHECK(sound());
  // Through with one chunk and at the next, before the parent has read a word of it.
  at.pool.core.enqueue(at.test, 1, 400);
  at.pool.core.dispatcher.refill(0);
  for (std::uint32_t item = 0; item < 4; ++item) at.pool.core.put(0, at.held[0], item, "ok");
  at.progress(0, 3, Phase::published);
  const auto next = at.pool.core.claim(0);
  CHECK(sound());
  at.pool.core.set_progress(0, next.ticket, 0, Phase::run);
  CHECK(sound());
  // Through with both, and parked.
  at.pool.core.put(0, next, 0, "ok");
  at.pool.core.set_progress(0, next.ticket, 0, Phase::published);
  lanes[0].header.park.announce(ring::ParkWord::State::idle);
  CHECK(sound());
  at.pool.pump();
  CHECK(sound());
  // Retired in the middle of a chunk.
  at.progress(1, 3, Phase::retired);
  CHECK(sound());
  CHECK(at.pool.supervisor.tally().lost == 0);
  CHECK(at.pool.outcomes(at.test).size() == 5);
}

TEST_CASE("every lie in the word of a chunk resets all, and every item runs on") {
  struct Lie {
    const char* name;
    std::uint32_t slot;
    State state;
    std::int64_t ticket;  ///< by so much off the true one
    std::uint32_t owner = 0;
  };
  for (const Lie lie :
       {Lie{"wiped", 0, State::free, -1}, Lie{"of an older chunk", 0, State::claimed, -1},
        Lie{"free", 2, State::free, 0}, Lie{"wiped, ready", 2, State::free, -3},
        Lie{"a state that is none", 2, static_cast<State>(3), 0},
        Lie{"ready, with an owner", 2, State::ready, 0, 1},
        Lie{"ready, another ticket", 2, State::ready, 7},
        Lie{"an owner that is none", 0, State::claimed, 0, 3},
        Lie{"an owner far out", 0, State::claimed, 0, 0x3FFF},
        Lie{"another owner than the one that runs it", 0, State::claimed, 0, 2},
        Lie{"ready though somebody runs it", 0, State::ready, 0},
        Lie{"an owner with another chunk", 2, State::claimed, 0, 1},
        Lie{"a parked owner", 2, State::claimed, 0, 2},
        Lie{"a chunk where none is", 5, State::ready, 0},
        Lie{"a claim where none is", 5, State::claimed, 0, 2}}) {
    CAPTURE(lie.name);
    Scene at;
    at.pool.core.lanes[2].header.park.announce(ring::ParkWord::State::idle);
    at.progress(0, 1, Phase::run);
    at.pool.core.put(0, at.held[0], 0, "ok");
    at.progress(1, 0, Phase::claimed);
    const auto ticket = static_cast<std::uint64_t>(
        static_cast<std::int64_t>(at.pool.core.descriptors[lie.slot].ticket) + lie.ticket);
    scribble(at.pool.core.claims[lie.slot], claim_of(ticket, lie.state, lie.owner));
    CHECK_FALSE(at.pool.supervisor.audit());
    CHECK(at.pool.core.dispatcher.refill(0) == 0);
    REQUIRE(at.all_replaced());
    CHECK(at.pool.supervisor.tally().lost == 3);
    Outcomes outcomes = at.pool.outcomes(at.test);
    CHECK(outcomes.size() == 2);
    CHECK(outcomes[100] == "=ok");
    CHECK(outcomes[101].find("as all were") != std::string::npos);
    CHECK_FALSE(at.test.batch->twice);
    CHECK(at.requeued() == Firsts{102, 200, 300});
    for (const auto& claim : at.pool.core.claims) CHECK(claim.read() == Claim{});
  }
}

TEST_CASE("an owner that is gone is a lie") {
  SupervisedCore pool(2, 0);
  REQUIRE(pool.all_alive());
  TestJob test;
  pool.core.enqueue(test, 4, 100);
  const auto held = pool.claim(0);
  // None takes its place, because it never claimed anything.
  pool.exit(1, 1);
  scribble(pool.core.claims[held.slot], claim_of(held.ticket, State::claimed, 1));
  CHECK_FALSE(pool.supervisor.audit());
}

TEST_CASE("a burial under a word that lies starts nothing twice") {
  Scene at;
  at.progress(0, 1, Phase::run);
  at.progress(1, 0, Phase::run);
  scribble(at.word(at.held[0]), claim_of(at.held[0].ticket, State::claimed, 2));
  at.pool.kill(2);
  REQUIRE(at.all_replaced());
  const Outcomes outcomes = at.pool.outcomes(at.test);
  CHECK(outcomes.size() == 1);  // item 1 of worker 0 is not the next one: a lie of another kind
  CHECK(outcomes.contains(200));
  CHECK(at.requeued() == Firsts{100, 201, 300});
}

TEST_CASE("a record for a chunk that another holds resets all, and counts in the end") {
  Scene at;
  at.progress(0, 1, Phase::run);
  at.pool.core.put(0, at.held[0], 0, "ok");
  scribble(at.word(at.held[0]), 0);
  REQUIRE(at.all_replaced());
  Outcomes outcomes = at.pool.outcomes(at.test);
  CHECK(outcomes.size() == 2);
  CHECK(outcomes[100] == "=ok");
  CHECK(outcomes[101].starts_with("!"));
  CHECK(at.requeued() == Firsts{102, 200, 300});
}

TEST_CASE("the rounds look for lies by themselves") {
  Scene at;
  scribble(at.word(at.ready), 0);
  REQUIRE(at.all_replaced());
  CHECK(at.requeued() == Firsts{100, 200, 300});
}

TEST_CASE("of two workers that ran the same chunk, each item has the outcome that came first") {
  Scene at;
  for (std::uint32_t item = 0; item < 2; ++item) at.pool.core.put(0, at.held[0], item, "first");
  for (std::uint32_t item = 0; item < 3; ++item) at.pool.core.put(1, at.held[0], item, "second");
  at.progress(0, 2, Phase::run);
  at.pool.core.set_progress(1, at.held[0].ticket, 3, Phase::encode);
  CHECK_FALSE(at.pool.supervisor.audit());
  REQUIRE(at.all_replaced());
  Outcomes outcomes = at.pool.outcomes(at.test);
  CHECK(outcomes.size() == 4);
  CHECK(outcomes[101] == "=first");
  CHECK(outcomes[102] == "=second");
  CHECK(outcomes[103].find("encoding the result of item 103") != std::string::npos);
  CHECK_FALSE(at.test.batch->twice);
  CHECK(at.requeued() == Firsts{200, 300});
}

TEST_CASE("fragments of two workers never become one value") {
  Scene at;
  const auto fragment = [&](std::uint32_t worker, const char* text, bool last) {
    auto& lane = at.pool.core.lanes[worker];
    ring::RecordHeader header{};
    header.kind = static_cast<std::uint8_t>(ring::RecordKind::value);
    header.last = last ? 1 : 0;
    header.ticket = at.held[0].ticket;
    header.slot = at.held[0].slot;
    header.bytes = static_cast<std::uint32_t>(std::strlen(text));
    lane.forge(lane.header.tail, header, text);
  };
  fragment(0, "half ", false);
  at.pool.pump();
  // The word is ready again, and another worker claims it.
  scribble(at.word(at.held[0]), claim_of(at.held[0].ticket, State::claimed, 2));
  fragment(2, "other ", false);
  fragment(2, "whole", true);
  REQUIRE(at.all_replaced());
  CHECK(at.pool.outcomes(at.test) == Outcomes{{100, "=other whole"}});
  CHECK(at.requeued() == Firsts{101, 200, 300});
}

TEST_CASE("retries cover a reset") {
  Scene at({.retries = 1});
  at.progress(0, 0, Phase::run);
  scribble(at.word(at.ready), 0);
  CHECK_FALSE(at.pool.supervisor.audit());
  REQUIRE(at.all_replaced());
  CHECK(at.pool.outcomes(at.test).empty());
  CHECK(at.pool.supervisor.tally().retried == 1);
  CHECK(at.requeued() == Firsts{100, 200, 300});
}

TEST_CASE("an item that wipes every trace of itself ends after a few resets, and no other does") {
  SupervisedCore pool(2);
  TestJob test;
  for (const std::size_t first : {100u, 200u, 300u}) pool.core.enqueue(test, 2, first);
  int resets = 0;
  while (pool.outcomes(test).empty() && resets < 100) {
    REQUIRE(pool.all_alive());
    const auto wiped = pool.claim(0);
    const auto other = pool.claim(1);
    CHECK(pool.core.dispatcher.find(wiped.slot, wiped.ticket)->first_index == 100);
    for (auto& word : pool.core.claims) scribble(word, 0);
    pool.core.set_progress(1, other.ticket, 0, Phase::claimed);
    CHECK_FALSE(pool.supervisor.audit());
    ++resets;
    REQUIRE(pool.pump_until([&] { return pool.core.dispatcher.has_queue(); }));
  }
  CHECK(resets > 2);
  CHECK(pool.outcomes(test).size() == 1);
  CHECK(pool.outcomes(test).contains(100));
}

TEST_CASE("resets that nothing comes of end, one item blamed") {
  SupervisedCore pool(1);
  TestJob test;
  for (const std::size_t first : {100u, 200u}) pool.core.enqueue(test, 2, first);
  int resets = 0;
  while (pool.outcomes(test).empty() && resets < 1000) {
    REQUIRE(pool.all_alive());
    pool.core.dispatcher.refill(0);
    pool.core.set_progress(0, pool.core.dispatcher.last_ticket(), 0, Phase::claimed);
    scribble(pool.core.claims[7], 1);
    CHECK_FALSE(pool.supervisor.audit());
    ++resets;
    REQUIRE(pool.pump_until([&] { return pool.core.dispatcher.has_queue(); }));
  }
  CHECK(resets > 10);
  CHECK(pool.outcomes(test).size() == 1);
  CHECK(pool.outcomes(test).contains(100));
}

TEST_CASE("what a reset finds of an abandoned job is dropped") {
  Scene at;
  at.test.job->abandoned = true;
  at.progress(0, 0, Phase::run);
  scribble(at.word(at.ready), 0);
  CHECK_FALSE(at.pool.supervisor.audit());
  REQUIRE(at.all_replaced());
  CHECK(at.pool.outcomes(at.test).empty());
  CHECK(at.test.job->chunks == 0);
}

TEST_CASE("a job is not stopped on the word of a lie") {
  Scene at;
  at.progress(1, 0, Phase::run);
  TestJob other;
  at.pool.core.enqueue(other, 1, 0);
  at.pool.core.dispatcher.refill(0);
  scribble(at.pool.core.claims[3], claim_of(at.ready.ticket + 1, State::claimed, 1));
  other.job->abandoned = true;
  at.pool.supervisor.stop(*other.job, at.pool.core.deliveries);
  REQUIRE(at.all_replaced());
  CHECK(at.pool.outcomes(at.test).contains(200));
  CHECK(at.requeued() == Firsts{100, 201, 300});
}

TEST_CASE("without its fork server a reset ends too") {
  Scene at;
  at.progress(0, 0, Phase::run);
  scribble(at.word(at.ready), 0);
  REQUIRE(::kill(at.pool.supervisor.server().pid(), SIGKILL) == 0);
  CHECK_FALSE(at.pool.supervisor.audit());
  REQUIRE(at.pool.pump_until([&] { return at.pool.supervisor.broken() != nullptr; }));
  CHECK(at.pool.outcomes(at.test).size() == 1);
  CHECK(at.pool.core.dispatcher.queued_chunks() == 3);
}

TEST_CASE("a pool ends in the middle of a reset") {
  Scene at;
  scribble(at.word(at.ready), 0);
  CHECK_FALSE(at.pool.supervisor.audit());
  at.pool.supervisor.kill_all();
  REQUIRE(at.pool.pump_until([&] { return at.pool.core.dispatcher.has_queue(); }));
  at.pool.pump();
  CHECK(at.pool.supervisor.workers().empty());
  CHECK(at.pool.supervisor.tally().spawned == 3);
}
