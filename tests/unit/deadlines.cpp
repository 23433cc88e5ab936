/// Facts about deadlines and stops: who is killed for what, forged to the point where it matters.
#include <doctest/doctest.h>

#include <libpool/supervise/supervisor.hpp>
#include <tests/support/supervised_core.hpp>

using namespace libpool;
using namespace std::chrono_literals;
using ring::Phase;
using testing::SupervisedCore;
using testing::TestJob;
using Clock = SupervisedCore::Clock;
using Outcomes = std::map<std::size_t, std::string>;

namespace {

/// A chunk of four items from index 100 on with this timeout, claimed by worker 0 of two.
struct Timed {
  explicit Timed(std::chrono::nanoseconds timeout = 1ms) : test({}, {.timeout = timeout}) {
    REQUIRE(pool.all_alive());
    pool.core.enqueue(test, 4, 100);
    claimed = pool.claim(0);
  }
  [[nodiscard]] submit::Chunk* chunk() {
    return pool.core.dispatcher.find(claimed.slot, claimed.ticket);
  }
  /// The worker is at the item, since the machine was started.
  void begin(std::uint32_t item, Phase phase = Phase::run) {
    chunk()->published_at = 0;
    pool.core.lanes[0].header.started = 0;
    pool.core.set_progress(0, claimed.ticket, item, phase);
  }
  /// The same, since now.
  void begin_now(std::uint32_t item) {
    begin(item);
    pool.core.lanes[0].header.started = ring::LaneClock::now();
  }
  [[nodiscard]] bool untouched(pid_t before) {
    pool.pump();
    return pool.supervisor.workers().size() == 2 && pool.pid(0) == before &&
           !pool.stops[0].requested() && pool.supervisor.tally().lost == 0;
  }

  SupervisedCore pool;
  TestJob test;
  ring::TaskClaimer::Claimed claimed{};
};

}  // namespace

TEST_CASE(
    "an item past its timeout has that outcome at once; its worker dies, the rest runs again") {
  for (const Phase phase : {Phase::decode, Phase::run, Phase::encode}) {
    Timed at;
    at.pool.core.put(0, at.claimed, 0, "ok");
    at.begin(1, phase);
    at.pool.pump();
    CHECK(at.pool.stops[0].requested());
    const Outcomes outcomes = at.pool.outcomes(at.test);
    CHECK(at.pool.tally.timed_out == 1);
    CHECK(outcomes.size() == 2);
    CHECK(outcomes.at(100) == "=ok");
    CHECK_THROWS_AS(std::rethrow_exception(at.test.batch->errors.at(101)), TaskTimeout);
    CHECK(outcomes.at(101).find("item 101") != std::string::npos);
    CHECK(outcomes.at(101).find(ring::describe(phase)) != std::string::npos);
    REQUIRE(at.pool.pump_until([&] { return at.pool.supervisor.buried(); }));
    // The death that was meant for item 101 is no crash of it, nor of any other.
    CHECK(at.pool.outcomes(at.test).size() == 2);
    CHECK(at.pool.requeued().next == 2);
    CHECK_FALSE(at.pool.stops[0].requested());
    CHECK(at.pool.supervisor.tally().lost == 1);
    CHECK_FALSE(at.test.batch->twice);
  }
}

TEST_CASE("the last item of a chunk past its timeout ends the chunk with its worker") {
  Timed at;
  for (std::uint32_t item = 0; item < 3; ++item) at.pool.core.put(0, at.claimed, item, "ok");
  at.begin(3);
  at.pool.pump();
  REQUIRE(at.pool.pump_until([&] { return at.pool.supervisor.buried(); }));
  CHECK(at.pool.outcomes(at.test).size() == 4);
  CHECK(at.test.job->chunks == 0);
  CHECK_FALSE(at.pool.core.dispatcher.has_queue());
}

TEST_CASE("late records for an item that timed out change nothing") {
  Timed at;
  at.begin(0);
  at.pool.pump();
  at.pool.core.put(0, at.claimed, 0, "too late");
  REQUIRE(at.pool.pump_until([&] { return at.pool.supervisor.buried(); }));
  const Outcomes outcomes = at.pool.outcomes(at.test);
  CHECK(outcomes.size() == 1);
  CHECK_FALSE(outcomes.at(100).starts_with("="));
  CHECK_FALSE(at.test.batch->twice);
  CHECK(at.pool.requeued().next == 1);
}

TEST_CASE("an item whose outcome is there is not timed out, and its worker goes on") {
  Timed at;
  const pid_t before = at.pool.pid(0);
  at.pool.core.put(0, at.claimed, 0, "in time");
  at.begin(0);
  CHECK(at.untouched(before));
  CHECK(at.pool.outcomes(at.test) == Outcomes{{100, "=in time"}});
  CHECK(at.pool.supervisor.next_timer());
}

TEST_CASE("a worker that waits for the end of a stop is woken when the stop is taken back") {
  Timed at;
  at.pool.core.put(0, at.claimed, 0, "in time");
  at.begin(0);
  auto& park = at.pool.core.lanes[0].header.park;
  park.announce(ring::ParkWord::State::blocked);
  at.pool.pump();
  CHECK(park.state() == ring::ParkWord::State::notified);
}

TEST_CASE("an item within its timeout runs on, and the supervisor asks to be called in time") {
  Timed at(1h);
  const pid_t before = at.pool.pid(0);
  const auto early = Clock::now();
  at.begin_now(0);
  CHECK(at.untouched(before));
  const auto timer = at.pool.supervisor.next_timer();
  REQUIRE(timer);
  CHECK(*timer >= early + 1h);
  CHECK(*timer <= Clock::now() + 1h);
}

TEST_CASE(
    "between items, and before the chunk is claimed, no item can expire sooner than one timeout") {
  for (const Phase phase : {Phase::idle, Phase::claimed, Phase::published, Phase::retired}) {
    Timed at(1h);
    const pid_t before = at.pool.pid(0);
    at.begin(0, phase);
    CHECK(at.untouched(before));
    REQUIRE(at.pool.supervisor.next_timer());
    CHECK(*at.pool.supervisor.next_timer() >= Clock::now() + 59min);
  }
  SupervisedCore pool;
  REQUIRE(pool.all_alive());
  const TestJob waiting({}, {.timeout = 1h});
  pool.core.enqueue(waiting, 1);
  pool.core.dispatcher.refill(0);
  pool.pump();
  REQUIRE(pool.supervisor.next_timer());
}

TEST_CASE("a worker's lie about when it began counts within what the parent knows") {
  for (const std::uint64_t lie : {std::uint64_t{0}, UINT64_MAX}) {
    Timed at(1min);
    const pid_t before = at.pool.pid(0);
    at.begin(0);
    // Just published: the item cannot have begun before.
    at.chunk()->published_at = ring::LaneClock::now();
    at.pool.core.lanes[0].header.started = lie;
    CHECK(at.untouched(before));
    REQUIRE(at.pool.supervisor.next_timer());
    CHECK(*at.pool.supervisor.next_timer() <= Clock::now() + 1min);
  }
}

TEST_CASE("a timeout without end never comes") {
  Timed at(std::chrono::nanoseconds::max());
  const pid_t before = at.pool.pid(0);
  at.begin_now(0);
  CHECK(at.untouched(before));
}

TEST_CASE("a progress word that names another chunk expires nothing of this one") {
  Timed at;
  const pid_t before = at.pool.pid(0);
  at.begin(0);
  at.pool.core.set_progress(0, at.claimed.ticket + 1, 0, Phase::run);
  CHECK(at.untouched(before));
}

TEST_CASE("a stop of a job kills the workers that hold its chunks and no others") {
  SupervisedCore pool;
  REQUIRE(pool.all_alive());
  const TestJob stopped;
  const TestJob other;
  pool.core.enqueue(stopped, 4, 100);
  pool.core.enqueue(other, 1, 200);
  const auto held = pool.claim(0);
  const auto others = pool.claim(1);
  const pid_t survivor = pool.pid(1);
  stopped.job->abandoned = true;
  pool.core.dispatcher.drop(*stopped.job);
  pool.core.put(0, held, 0, "unwanted");
  pool.supervisor.stop(*stopped.job, pool.core.deliveries);
  REQUIRE(pool.pump_until([&] { return pool.supervisor.buried(); }));
  REQUIRE(pool.all_alive());
  CHECK(pool.pid(1) == survivor);
  CHECK(stopped.job->chunks == 0);
  CHECK(pool.outcomes(stopped).empty());
  CHECK(pool.core.dispatcher.claimed_by(others.slot, 1));
  CHECK_FALSE(pool.core.dispatcher.has_queue());
}

TEST_CASE("a worker that has published all of a stopped job's chunk is let go") {
  SupervisedCore pool;
  REQUIRE(pool.all_alive());
  const TestJob stopped;
  pool.core.enqueue(stopped, 1, 100);
  const auto held = pool.claim(0);
  const pid_t before = pool.pid(0);
  stopped.job->abandoned = true;
  pool.core.put(0, held, 0, "unwanted");
  pool.supervisor.stop(*stopped.job, pool.core.deliveries);
  CHECK_FALSE(pool.stops[0].requested());
  pool.pump();
  CHECK(pool.pid(0) == before);
  CHECK(stopped.job->chunks == 0);
}

TEST_CASE("a chunk that a stopped worker claimed meanwhile runs elsewhere, and nobody is blamed") {
  SupervisedCore pool;
  REQUIRE(pool.all_alive());
  const TestJob stopped;
  const TestJob other;
  pool.core.enqueue(stopped, 2, 100);
  pool.core.enqueue(other, 1, 200);
  const auto held = pool.claim(0);
  stopped.job->abandoned = true;
  pool.supervisor.stop(*stopped.job, pool.core.deliveries);
  // Before the kill reaches it: it publishes the rest, claims the next chunk and sees the stop.
  pool.core.put(0, held, 0, "unwanted");
  pool.core.put(0, held, 1, "unwanted");
  const auto next = pool.claim(0);
  pool.core.set_progress(0, next.ticket, 0, Phase::claimed);
  REQUIRE(pool.pump_until([&] { return pool.supervisor.buried(); }));
  CHECK(pool.outcomes(other).empty());
  CHECK(pool.requeued().job == other.job);
}

TEST_CASE("what is left of a bundle is taken back when its worker is late, and not before") {
  const TestJob test({.run_result_size = 8}, {.singly = true});
  SupervisedCore pool;
  REQUIRE(pool.all_alive());
  pool.core.enqueue_bundle(test, 8);
  const auto claimed = pool.claim(0);
  ring::RemainderWord& word = pool.core.lanes[0].header.remainder;
  word.open(claimed.ticket, 0, 8);
  REQUIRE(word.take());
  const auto now = Clock::now();
  pool.supervisor.pump(now, true, pool.core.deliveries);
  CHECK(word.read().open());
  REQUIRE(pool.supervisor.next_timer());
  const auto when = *pool.supervisor.next_timer();
  pool.supervisor.pump(when - 1us, true, pool.core.deliveries);
  CHECK(word.read().open());
  pool.supervisor.pump(when, true, pool.core.deliveries);
  CHECK_FALSE(word.read().open());
  CHECK(pool.core.dispatcher.queued_chunks() == 7);
  CHECK(pool.core.dispatcher.find(claimed.slot, claimed.ticket)->end == 1);
  // The next bundle has its own time.
  pool.core.enqueue_bundle(test, 8);
  pool.core.dispatcher.settle(claimed.slot);
  pool.core.dispatcher.refill(0);
  ring::TaskClaimer::Claimed next{};
  while (pool.core.descriptors[next.slot].bundled == 0 || next.ticket == 0) next = pool.claim(0);
  word.open(next.ticket, 0, 8);
  pool.supervisor.pump(when + 1us, true, pool.core.deliveries);
  CHECK(word.read().open());
}
