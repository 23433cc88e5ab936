/// Facts about burials: whatever a dead worker left, exactly one item is blamed or none, what was
/// published counts, and the rest runs again.
#include <doctest/doctest.h>

#include <libpool/supervise/supervisor.hpp>
#include <tests/support/replaced.hpp>
#include <tests/support/supervised_core.hpp>

using namespace libpool;
using ring::Phase;
using ring::RecordKind;
using testing::SupervisedCore;
using testing::TestJob;
using Outcomes = std::map<std::size_t, std::string>;

namespace {

/// A chunk of four items from index 100 on, claimed by worker 0 of two.
struct Claimed {
  explicit Claimed(detail::Batch::Terms terms = {}) : test({}, terms) {
    REQUIRE(pool.all_alive());
    pool.core.enqueue(test, 4, 100);
    claimed = pool.claim(0);
  }
  void publish(std::uint32_t items) {
    for (std::uint32_t item = 0; item < items; ++item) pool.core.put(0, claimed, item, "ok");
  }
  void progress(std::uint32_t item, Phase phase) {
    pool.core.set_progress(0, claimed.ticket, item, phase);
  }
  /// What was delivered: so many good outcomes from the first on, then this crash, if any.
  void expect(std::size_t good, const char* crash = nullptr) {
    Outcomes outcomes = pool.outcomes(test);
    for (std::size_t item = 0; item < good; ++item) CHECK(outcomes[100 + item] == "=ok");
    CHECK(outcomes.size() == good + (crash != nullptr ? 1 : 0));
    if (crash != nullptr) CHECK(outcomes[100 + good].find(crash) != std::string::npos);
    CHECK_FALSE(test.batch->twice);
  }
  /// The rest of the chunk is in the queue, from this item on.
  void expect_requeued(std::uint32_t next) {
    const submit::Chunk& chunk = pool.requeued();
    CHECK(chunk.next == next);
    CHECK(chunk.end == 4);
    CHECK(chunk.partial.empty());
    CHECK(test.job->chunks == 1);
  }

  SupervisedCore pool;
  TestJob test;
  ring::TaskClaimer::Claimed claimed{};
};

const pid_t host = ::getpid();

/// Word 0 of the page counts the server's forks: one that it tries, two workers, a failure, and
/// then one without end.
pid_t fork_two_workers() {
  if (::getpid() == host) return ::fork();
  const auto before = oracle::page.words[0]++;
  if (before < 3) return ::fork();
  while (before > 3) ::pause();
  errno = EAGAIN;
  return -1;
}

}  // namespace

TEST_CASE("a worker that dies idle costs no item and is replaced") {
  SupervisedCore pool;
  REQUIRE(pool.all_alive());
  const pid_t before = pool.pid(0);
  pool.kill(0);
  CHECK(pool.supervisor.tally().lost == 1);
  CHECK(pool.core.deliveries.empty());
  REQUIRE(pool.all_alive());
  CHECK(pool.pid(0) != before);
  CHECK(pool.supervisor.tally().spawned == 3);
  CHECK(pool.supervisor.broken() == nullptr);
}

TEST_CASE("claimed and nothing begun: nobody is blamed, all items run again") {
  for (const bool said_so : {false, true}) {
    Claimed at;
    if (said_so) at.progress(0, Phase::claimed);
    at.pool.kill(0);
    at.expect(0);
    at.expect_requeued(0);
    CHECK(at.pool.supervisor.tally().lost == 1);
    CHECK(at.pool.supervisor.tally().retried == 0);
  }
}

TEST_CASE(
    "begun and not published: that item is blamed, finished ones count, the rest runs again") {
  struct Case {
    Phase phase;
    const char* words;
  };
  for (const Case each : {Case{Phase::decode, "decoding item "}, Case{Phase::run, "running item "},
                          Case{Phase::encode, "encoding the result of item "}}) {
    for (std::uint32_t item = 0; item < 4; ++item) {
      Claimed at;
      at.publish(item);
      at.progress(item, each.phase);
      const pid_t pid = at.pool.pid(0);
      at.pool.kill(0);
      at.expect(item, (each.words + std::to_string(100 + item)).c_str());
      CHECK(at.pool.tally.crashed == 1);
      try {
        std::rethrow_exception(at.test.batch->errors.at(100 + item));
      } catch (const WorkerCrashed& crash) {
        CHECK(crash.index() == 100 + item);
        CHECK(crash.signal() == SIGKILL);
        CHECK_FALSE(crash.exit_status());
        CHECK(crash.pid() == pid);
      }
      if (item == 3) {
        CHECK(at.test.job->chunks == 0);
        CHECK_FALSE(at.pool.core.dispatcher.has_queue());
      } else {
        at.expect_requeued(item + 1);
      }
    }
  }
}

TEST_CASE("published before the progress word moved on: the result wins, nobody is blamed") {
  for (std::uint32_t item = 0; item < 4; ++item) {
    Claimed at;
    at.publish(item + 1);
    at.progress(item, Phase::encode);
    at.pool.kill(0);
    at.expect(item + 1);
    if (item == 3) {
      CHECK(at.test.job->chunks == 0);
    } else {
      at.expect_requeued(item + 1);
    }
  }
}

TEST_CASE("a death between items, or in the destructors after a publication, is nobody's fault") {
  Claimed at;
  at.publish(2);
  at.progress(1, Phase::published);
  at.pool.kill(0, SIGSEGV);
  at.expect(2);
  at.expect_requeued(2);
}

TEST_CASE("a progress word that names another chunk blames nobody of this one") {
  Claimed at;
  at.pool.core.set_progress(0, at.claimed.ticket + 1, 0, Phase::run);
  at.pool.kill(0);
  at.expect(0);
  at.expect_requeued(0);
}

TEST_CASE("to exit in a task is a crash, with status 0 too") {
  for (const int status : {0, 3, 255}) {
    Claimed at;
    at.progress(0, Phase::run);
    at.pool.exit(0, status);
    at.expect(0, ("exited with status " + std::to_string(status)).c_str());
    try {
      std::rethrow_exception(at.test.batch->errors.at(100));
    } catch (const WorkerCrashed& crash) {
      CHECK(crash.exit_status() == status);
      CHECK_FALSE(crash.signal());
    }
    CHECK(at.pool.supervisor.tally().lost == 1);
  }
}

TEST_CASE("fragments of a result that was never completed are void") {
  Claimed at;
  at.pool.core.lanes[0].forge(0,
                              {0, static_cast<std::uint8_t>(RecordKind::value), 0, 0,
                               at.claimed.ticket, at.claimed.slot, 0, 4, 0},
                              "half");
  at.progress(0, Phase::encode);
  at.pool.kill(0);
  at.expect(0, "encoding the result of item 100");
  at.expect_requeued(1);
}

TEST_CASE("an item is tried again as often as its batch says, then it is blamed") {
  Claimed at({.retries = 2});
  for (std::uint64_t attempt = 1; attempt <= 2; ++attempt) {
    at.progress(0, Phase::run);
    at.pool.kill(0);
    at.expect(0);
    CHECK(at.pool.supervisor.tally().retried == attempt);
    REQUIRE(at.pool.all_alive());
    at.claimed = at.pool.claim(0);
    const auto* chunk = at.pool.core.dispatcher.find(at.claimed.slot, at.claimed.ticket);
    REQUIRE(chunk != nullptr);
    CHECK(chunk->next == 0);
    CHECK(chunk->attempts == attempt);
  }
  at.progress(0, Phase::run);
  at.pool.kill(0);
  at.expect(0, "running item 100");
  CHECK(at.pool.supervisor.tally().retried == 2);
  // The next item has all of its attempts.
  const submit::Chunk& rest = at.pool.requeued();
  CHECK(rest.next == 1);
  CHECK(rest.attempts == 0);
}

TEST_CASE("a death that nobody is blamed for is no attempt") {
  Claimed at({.retries = 1});
  at.progress(0, Phase::claimed);
  at.pool.kill(0);
  CHECK(at.pool.supervisor.tally().retried == 0);
  CHECK(at.pool.requeued().attempts == 0);
}

TEST_CASE("a worker that retires is not lost; what it did not begin runs elsewhere") {
  Claimed at;
  at.publish(2);
  at.progress(2, Phase::retired);
  at.pool.exit(0, 0);
  at.expect(2);
  at.expect_requeued(2);
  CHECK(at.pool.supervisor.tally().lost == 0);
}

TEST_CASE("a farewell counts with status 0 only") {
  Claimed at;
  at.progress(0, Phase::retired);
  at.pool.exit(0, 1);
  at.expect(0);
  at.expect_requeued(0);
  CHECK(at.pool.supervisor.tally().lost == 1);
}

TEST_CASE("what a dead worker held of an abandoned job is dropped") {
  Claimed at;
  at.test.job->abandoned = true;
  at.progress(1, Phase::run);
  at.pool.kill(0);
  at.expect(0);
  CHECK(at.test.job->chunks == 0);
  CHECK_FALSE(at.pool.core.dispatcher.has_queue());
}

TEST_CASE("a burial touches nothing that another worker holds") {
  Claimed at;
  at.pool.core.enqueue(at.test, 2, 200);
  const auto other = at.pool.claim(1);
  at.pool.core.set_progress(1, other.ticket, 0, Phase::run);
  at.progress(0, Phase::run);
  at.pool.kill(0);
  at.expect(0, "running item 100");
  CHECK(at.pool.core.dispatcher.claimed_by(other.slot, 1));
  at.pool.core.put(1, other, 0, "fine");
  at.pool.pump();
  CHECK(at.pool.outcomes(at.test)[200] == "=fine");
}

TEST_CASE("the next owner finds lane, park word and stop word as new") {
  Claimed at;
  at.publish(2);
  at.progress(2, Phase::run);
  at.pool.core.lanes[0].header.park.announce(ring::ParkWord::State::blocked);
  at.pool.stops[0].request();
  at.pool.kill(0);
  const auto& header = at.pool.core.lanes[0].header;
  CHECK(header.tail == 0);
  CHECK(header.head == 0);
  CHECK(header.progress.read() == ring::Progress{});
  CHECK(header.park.state() == ring::ParkWord::State::running);
  CHECK_FALSE(at.pool.stops[0].requested());
}

TEST_CASE(
    "a worker that damages its ring is killed; items that it began are blamed, others are not") {
  Claimed at;
  at.publish(1);
  at.pool.pump();
  // It has finished items 1 and 2 and is at 3 when the parent finds nonsense instead of item 1.
  at.pool.core.lanes[0].header.tail += 32;
  at.progress(2, Phase::run);
  REQUIRE(at.pool.pump_until([&] { return at.pool.supervisor.buried(); }));
  const Outcomes outcomes = at.pool.outcomes(at.test);
  CHECK(outcomes.size() == 3);
  CHECK(outcomes.at(100) == "=ok");
  for (const std::size_t index : {101u, 102u}) {
    CHECK(outcomes.at(index).find("damaged its result ring") != std::string::npos);
    CHECK_THROWS_AS(std::rethrow_exception(at.test.batch->errors.at(index)), WorkerCrashed);
  }
  at.expect_requeued(3);
}

TEST_CASE("damage ends in an outcome whatever the progress word says") {
  for (const ring::Progress forged :
       {ring::Progress{}, ring::Progress{1, 0, Phase::claimed}, ring::Progress{1, 99, Phase::run},
        ring::Progress{77, 1, Phase::run}, ring::Progress{1, 0, static_cast<Phase>(15)}}) {
    Claimed at;
    at.pool.core.set_progress(0, forged.ticket, forged.item, forged.phase);
    at.pool.core.lanes[0].header.tail = 32;
    REQUIRE(at.pool.pump_until([&] { return at.pool.supervisor.buried(); }));
    at.expect(0, "damaged its result ring");
    at.expect_requeued(1);
  }
}

TEST_CASE("a chunk whose holders die again and again without a trace ends, one item blamed") {
  Claimed at;
  int deaths = 0;
  while (at.pool.outcomes(at.test).empty() && deaths < 1000) {
    if (deaths != 0) at.claimed = at.pool.claim(0);
    at.progress(0, Phase::claimed);
    at.pool.kill(0);
    ++deaths;
    REQUIRE(at.pool.all_alive());
  }
  CHECK(deaths >= 10);
  at.expect(0, "worker ");
  at.expect_requeued(1);
}

TEST_CASE(
    "workers that die before their first task too often break the pool, with the last cause") {
  SupervisedCore pool(1, 2);
  for (int death = 0; death < 3; ++death) {
    REQUIRE(pool.all_alive());
    CHECK(pool.supervisor.broken() == nullptr);
    pool.exit(0, 40 + death);
  }
  REQUIRE(pool.supervisor.broken() != nullptr);
  CHECK(testing::text_of(pool.supervisor.broken()).find("status 42 before its first task") !=
        std::string::npos);
  pool.pump();
  CHECK(pool.supervisor.workers().empty());
}

TEST_CASE("deaths of workers that have claimed something never break the pool") {
  SupervisedCore pool(1, 0);
  TestJob test;
  for (std::size_t death = 0; death < 5; ++death) {
    REQUIRE(pool.all_alive());
    pool.core.enqueue(test, 1, death);
    const auto claimed = pool.claim(0);
    pool.core.set_progress(0, claimed.ticket, 0, Phase::run);
    pool.kill(0);
  }
  CHECK(pool.supervisor.broken() == nullptr);
  CHECK(pool.outcomes(test).size() == 5);
}

TEST_CASE("what an initializer threw is the cause, also when it is longer than a ring") {
  SupervisedCore pool(1, 0);
  REQUIRE(pool.all_alive());
  auto& lane = pool.core.lanes[0];
  const std::string part(2000, 'x');
  for (int fragment = 0; fragment < 4; ++fragment) {
    const auto kind = static_cast<std::uint8_t>(RecordKind::failed_start);
    const std::uint8_t last = fragment == 3 ? 1 : 0;
    lane.forge(lane.header.tail, {0, kind, last, 0, 0, 0, 0, 2000, 0}, part);
    pool.pump();
  }
  pool.exit(0, 71);
  REQUIRE(pool.supervisor.broken() != nullptr);
  CHECK(testing::text_of(pool.supervisor.cause()).find("before its first task") ==
        std::string::npos);
}

TEST_CASE("without its fork server the pool is broken, and what its workers held is settled") {
  Claimed at;
  at.publish(1);
  at.progress(1, Phase::run);
  REQUIRE(::kill(at.pool.supervisor.server().pid(), SIGKILL) == 0);
  REQUIRE(at.pool.pump_until([&] { return at.pool.supervisor.broken() != nullptr; }));
  at.expect(1, "killed by signal 9");
  CHECK(at.pool.supervisor.workers().empty());
  CHECK(testing::text_of(at.pool.supervisor.broken()) == "the fork server has died");
  CHECK(at.pool.core.dispatcher.has_queue());
}

TEST_CASE("what a worker holds of which a lost server has not told is nobody else's fault") {
  const testing::Replaced hang(detail::system_calls.fork, &fork_two_workers);
  SupervisedCore pool(2);
  REQUIRE(pool.all_alive());
  REQUIRE(::kill(pool.pid(0), SIGKILL) == 0);
  REQUIRE(pool.pump_until([] { return oracle::page.words[0] == 5; }));
  // As if it had been forked, and the server had died before it could say so.
  TestJob untold;
  pool.core.enqueue(untold, 1, 100);
  pool.core.set_progress(0, pool.claim(0).ticket, 0, Phase::run);
  TestJob told;
  pool.core.enqueue(told, 1, 200);
  pool.core.set_progress(1, pool.claim(1).ticket, 0, Phase::run);
  REQUIRE(::kill(pool.supervisor.server().pid(), SIGKILL) == 0);
  REQUIRE(pool.pump_until([&] { return pool.supervisor.broken() != nullptr; }));
  for (int round = 0; round < 3; ++round) pool.pump();
  Outcomes outcomes = pool.outcomes(told);
  CHECK(outcomes.size() == 1);
  CHECK(outcomes[200].find("killed by signal 9") != std::string::npos);
  CHECK(untold.batch->outcomes.empty());
}
