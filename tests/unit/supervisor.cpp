/// Facts about the supervisor's rounds: starting, waking, ending.
#include <libpool/supervise/supervisor.hpp>

#include <doctest/doctest.h>

#include <system_error>

#include <tests/support/replaced.hpp>
#include <tests/support/supervised_core.hpp>

using namespace libpool;
using testing::SupervisedCore;
using testing::TestJob;
using State = ring::ParkWord::State;
using Clock = SupervisedCore::Clock;

namespace {

const pid_t host = ::getpid();

/// Word 0 of the page counts forks of workers, word 1 says how many succeed.
pid_t fork_a_few() {
  if (::getpid() == host) return ::fork();
  if (oracle::page.words[0]++ < oracle::page.words[1]) return ::fork();
  errno = EAGAIN;
  return -1;
}

}  // namespace

TEST_CASE("all workers are started, in processes of their own") {
  SupervisedCore pool(3);
  CHECK_FALSE(pool.supervisor.all_reported());
  REQUIRE(pool.all_alive());
  CHECK(pool.supervisor.all_reported());
  CHECK(pool.supervisor.tally().spawned == 3);
  CHECK(pool.supervisor.tally().lost == 0);
  CHECK(pool.pid(0) != pool.pid(1));
  CHECK(pool.pid(1) != pool.pid(2));
}

TEST_CASE(
    "as many workers are woken as there are chunks, and only those that sleep for want of one") {
  SupervisedCore pool(4);
  REQUIRE(pool.all_alive());
  const auto park = [&](std::uint32_t worker) -> ring::ParkWord& {
    return pool.core.lanes[worker].header.park;
  };
  park(0).announce(State::blocked);
  park(1).announce(State::idle);
  park(2).announce(State::idle);
  park(3).announce(State::idle);
  pool.supervisor.wake_idle(2);
  CHECK(park(0).state() == State::blocked);
  CHECK(park(1).state() == State::notified);
  CHECK(park(2).state() == State::notified);
  CHECK(park(3).state() == State::idle);
  // The next wake goes on where this one ended, so that all workers have their turn.
  park(1).announce(State::idle);
  pool.supervisor.wake_idle(1);
  CHECK(park(1).state() == State::idle);
  CHECK(park(3).state() == State::notified);
  pool.supervisor.wake_idle(100);
  CHECK(park(1).state() == State::notified);
  CHECK(park(0).state() == State::blocked);
}

TEST_CASE("only living workers that look for chunks count as many as there are") {
  SupervisedCore pool(3);
  REQUIRE(pool.all_alive());
  const auto park = [&](std::uint32_t worker) -> ring::ParkWord& {
    return pool.core.lanes[worker].header.park;
  };
  CHECK(pool.supervisor.enough_look(0));
  CHECK_FALSE(pool.supervisor.enough_look(1));
  park(0).announce(State::idle);
  park(1).look();
  CHECK(pool.supervisor.enough_look(1));
  CHECK_FALSE(pool.supervisor.enough_look(2));
  park(2).look();
  CHECK(pool.supervisor.enough_look(2));
  CHECK_FALSE(pool.supervisor.enough_look(3));
  CHECK_FALSE(pool.supervisor.enough_look(4));
  park(1).stay();
  CHECK_FALSE(pool.supervisor.enough_look(2));
}

TEST_CASE("the worker that was woken last is waking until it runs") {
  SupervisedCore pool(3);
  REQUIRE(pool.all_alive());
  const auto park = [&](std::uint32_t worker) -> ring::ParkWord& {
    return pool.core.lanes[worker].header.park;
  };
  CHECK_FALSE(pool.supervisor.still_waking());
  for (const std::uint32_t woken : {0u, 1u, 2u, 0u}) {
    park(woken).announce(State::idle);
    CHECK(pool.supervisor.still_waking() == (woken == 2));
    pool.supervisor.wake_idle(1);
    CHECK(pool.supervisor.still_waking());
    if (woken != 1) park(woken).look();  // number 1 is late
    CHECK(pool.supervisor.still_waking() == (woken == 1));
  }
}

TEST_CASE("a round settles what workers have published and counts it for them") {
  SupervisedCore pool;
  REQUIRE(pool.all_alive());
  const TestJob test;
  pool.core.enqueue(test, 3, 0);
  const auto claimed = pool.claim(1);
  pool.core.lanes[1].header.busy = 5000;
  for (std::uint32_t item = 0; item < 3; ++item) pool.core.put(1, claimed, item, "ok");
  CHECK(pool.supervisor.pump(Clock::now(), false, pool.core.deliveries));
  CHECK(pool.outcomes(test).size() == 3);
  const auto workers = pool.supervisor.workers();
  CHECK(workers[0].tasks_done == 0);
  CHECK(workers[1].tasks_done == 3);
  CHECK(workers[1].busy_time == std::chrono::nanoseconds(5000));
  CHECK_FALSE(pool.supervisor.pump(Clock::now(), false, pool.core.deliveries));
}

TEST_CASE("workers that cannot be forked are asked for again; too often, and the pool is broken") {
  const testing::Replaced few(detail::system_calls.fork, &fork_a_few);
  const auto count_forks = [](std::int64_t succeed) {
    oracle::page.words[0] = 0;
    oracle::page.words[1] = succeed;
  };
  {
    SupervisedCore pool(1, 20);  // its page is fresh: no fork of a worker succeeds
    count_forks(0);
    REQUIRE(pool.pump_until([&] { return oracle::page.words[0] >= 3; }));
    CHECK(pool.supervisor.broken() == nullptr);
    CHECK(pool.pump_until([&] { return pool.supervisor.next_timer().has_value(); }));
    count_forks(100);
    REQUIRE(pool.all_alive());
  }
  SupervisedCore pool(1, 5);
  REQUIRE(pool.pump_until([&] { return pool.supervisor.broken() != nullptr; }));
  try {
    std::rethrow_exception(pool.supervisor.broken());
  } catch (const std::system_error& error) {
    CHECK(error.code().value() == EAGAIN);
    CHECK(std::string(error.what()).starts_with("fork"));
  }
}

TEST_CASE("after kill_all every worker dies, none is replaced, and no death counts as a loss") {
  SupervisedCore pool(3);
  REQUIRE(pool.all_alive());
  pool.supervisor.kill_all();
  REQUIRE(pool.pump_until([&] { return pool.supervisor.workers().empty(); }));
  CHECK(pool.supervisor.tally().lost == 0);
  CHECK(pool.supervisor.tally().spawned == 3);
  CHECK(pool.supervisor.broken() == nullptr);
}

TEST_CASE("shutting down ends every process, also twice, also with workers that are stopped") {
  SupervisedCore pool(2);
  REQUIRE(pool.all_alive());
  const oracle::Watched first(pool.pid(0));
  const oracle::Watched second(pool.pid(1));
  const oracle::Watched server(pool.supervisor.server().pid());
  first.kill(SIGSTOP);
  pool.supervisor.shut_down();
  CHECK(first.dead());
  CHECK(second.dead());
  CHECK(server.dead());
  pool.supervisor.shut_down();
  CHECK(pool.supervisor.workers().empty());
}
