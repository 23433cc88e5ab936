/// What becomes of the rest after a death: places in a chunk, several deaths, retries, poison.
///
/// The tests run in the parent; the deaths happen in workers.
#include <sys/resource.h>

#include <set>

#include "matrix.hpp"

using namespace crash;
using libpool::ProcessPool;
using libpool::WorkerCrashed;
using namespace std::chrono_literals;

namespace {

/// Items that are multiples of `oracle::page.words[8]` kill their worker, on each attempt.
int die_if_multiple(int item) {
  oracle::count_execution(item);
  if (item % oracle::page.words[8] == 0) ::kill(::getpid(), SIGKILL);
  return item;
}
/// Dies at the first `oracle::page.words[8]` attempts of each item.
int die_at_first(int item) {
  oracle::count_execution(item);
  if (oracle::executions(item) <= oracle::page.words[8]) ::_exit(9);
  return item;
}
int plain(int item) {
  oracle::count_execution(item);
  return item;
}
std::vector<int> numbers(int n) {
  std::vector<int> values;
  for (int i = 0; i < n; ++i) values.push_back(i);
  return values;
}

struct HalfWay {
  std::vector<char> head;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & head;
    if (Archive::is_saving::value && ::getpid() != host) ::_exit(6);
  }
};

}  // namespace

TEST_CASE("wherever in a chunk the death is, only its item is lost") {
  for (const std::size_t chunksize : {1U, 2U, 5U, 20U, 21U}) {
    Pool pool(2);
    for (int bad = 0; bad < 20; ++bad) {
      CAPTURE(chunksize);
      CAPTURE(bad);
      oracle::Fresh fresh;
      Seen seen(20);
      for (auto& outcome :
           pool.try_map(work, orders(20, {.item = bad, .moment = Moment::running, .death = 8}),
                        {.chunksize = chunksize})) {
        seen.collect([&] { seen.result(outcome.value()); });
      }
      check_only_one_lost(calls[3], seen, bad, deaths[8]);
    }
  }
}

TEST_CASE("when many items of one map kill their workers, exactly these are lost") {
  for (const std::size_t chunksize : {1U, 3U, 7U, 100U}) {
    CAPTURE(chunksize);
    ProcessPool pool(3);
    oracle::Fresh fresh;
    oracle::page.words[8] = 5;
    const auto outcomes = pool.try_map(die_if_multiple, numbers(100), {.chunksize = chunksize});
    for (int i = 0; i < 100; ++i) {
      CAPTURE(i);
      const auto& outcome = outcomes[static_cast<std::size_t>(i)];
      REQUIRE(outcome.has_value() == (i % 5 != 0));
      if (!outcome) CHECK_THROWS_AS(outcome.value(), WorkerCrashed);
    }
    CHECK(oracle::executed(100) == 100);
    CHECK(pool.stats().crashed == 20);
  }
}

TEST_CASE("when every item kills its worker, every item is lost and the pool lives") {
  ProcessPool pool(2);
  oracle::Fresh fresh;
  oracle::page.words[8] = 1;
  for (auto& outcome : pool.try_map(die_if_multiple, numbers(200), {.chunksize = 10})) {
    CHECK_THROWS_AS(outcome.value(), WorkerCrashed);
  }
  CHECK(oracle::executed(200) == 200);
  CHECK(pool.apply(plain, 0) == 0);
}

TEST_CASE("map throws the error of the lowest index when several items kill their workers") {
  ProcessPool pool(3);
  oracle::Fresh fresh;
  oracle::page.words[8] = 10;
  std::vector<int> items = numbers(60);
  items[0] = 61;
  try {
    pool.map(die_if_multiple, items, {.chunksize = 7});
    FAIL("nothing was thrown");
  } catch (const WorkerCrashed& error) {
    CHECK(error.index() == 10);
  }
  CHECK(oracle::executed(60) == 59);
}

TEST_CASE("an item that crashes the first time succeeds with a retry") {
  for (const std::size_t chunksize : {1U, 4U, 20U}) {
    CAPTURE(chunksize);
    ProcessPool pool(2);
    oracle::Fresh fresh;
    oracle::page.words[8] = 1;
    CHECK(pool.map(die_at_first, numbers(20), {.chunksize = chunksize, .retries = 1}) ==
          numbers(20));
    CHECK(oracle::executed(20, 2) == 20);
    CHECK(pool.stats().crashed == 0);
    CHECK(pool.stats().retried == 20);
  }
}

TEST_CASE("retries work with every call") {
  ProcessPool pool(2);
  const auto fresh_page = [] { oracle::page.words[8] = 2; };
  {
    oracle::Fresh fresh;
    fresh_page();
    CHECK(pool.apply_async(die_at_first, std::tuple(1), {.retries = 2}).get() == 1);
  }
  {
    oracle::Fresh fresh;
    fresh_page();
    CHECK(pool.map_async(die_at_first, numbers(10), {.retries = 2}).get() == numbers(10));
  }
  {
    oracle::Fresh fresh;
    fresh_page();
    std::vector<int> seen;
    for (int value : pool.imap(die_at_first, numbers(10), {.chunksize = 3, .retries = 2}))
      seen.push_back(value);
    CHECK(seen == numbers(10));
  }
  oracle::Fresh fresh;
  fresh_page();
  std::set<int> all;
  for (int value : pool.imap_unordered(die_at_first, numbers(10), {.retries = 2}))
    all.insert(value);
  CHECK(all.size() == 10);
}

TEST_CASE("an item is lost once its retries are used up, after exactly that many attempts") {
  for (const std::size_t retries : {0U, 1U, 3U}) {
    CAPTURE(retries);
    ProcessPool pool(2);
    oracle::Fresh fresh;
    oracle::page.words[8] = 7;
    const auto outcomes =
        pool.try_map(die_if_multiple, numbers(7), {.chunksize = 7, .retries = retries});
    CHECK_THROWS_AS(outcomes[0].value(), WorkerCrashed);
    for (std::size_t i = 1; i < 7; ++i) CHECK(outcomes[i].has_value());
    CHECK(oracle::executions(0) == retries + 1);
    for (int i = 1; i < 7; ++i) CHECK(oracle::executions(i) == 1);
  }
}

TEST_CASE("a poison item uses up its own retries and never those of its neighbours") {
  ProcessPool pool(2);
  oracle::Fresh fresh;
  oracle::page.words[8] = 10;
  const auto outcomes = pool.try_map(die_if_multiple, numbers(40), {.chunksize = 40, .retries = 5});
  for (int i = 0; i < 40; ++i) {
    CAPTURE(i);
    CHECK(outcomes[static_cast<std::size_t>(i)].has_value() == (i % 10 != 0));
    CHECK(oracle::executions(i) == (i % 10 == 0 ? 6U : 1U));
  }
}

TEST_CASE("poison items side by side each use their own retries") {
  ProcessPool pool(1);
  oracle::Fresh fresh;
  oracle::page.words[8] = 1;
  for (auto& outcome : pool.try_map(die_if_multiple, numbers(5), {.chunksize = 5, .retries = 2})) {
    CHECK_THROWS_AS(outcome.value(), WorkerCrashed);
  }
  CHECK(oracle::executed(5, 3) == 5);
}

TEST_CASE("retries are for crashes, not for exceptions") {
  ProcessPool pool(1);
  oracle::Fresh fresh;
  CHECK_THROWS_AS(pool.map(
                      [](int item) -> int {
                        oracle::count_execution(item);
                        throw std::runtime_error("no crash");
                      },
                      numbers(1), {.retries = 5}),
                  std::runtime_error);
  CHECK(oracle::executions(0) == 1);
}

TEST_CASE("retries are for crashes, not for timeouts") {
  ProcessPool pool(1);
  oracle::Fresh fresh;
  CHECK_THROWS_AS(pool.map(
                      [](int item) -> int {
                        oracle::count_execution(item);
                        for (;;) ::pause();
                      },
                      numbers(1), {.timeout = 30ms, .retries = 5}),
                  libpool::TaskTimeout);
  CHECK(oracle::executions(0) == 1);
}

TEST_CASE("an item that kills its worker while it is decoded or encoded is retried") {
  for (const Moment moment : {Moment::decoding, Moment::running, Moment::encoding}) {
    ProcessPool pool(2);
    oracle::Fresh fresh;
    const auto items = orders(9, {.item = 4, .moment = moment, .death = 8, .deaths_wanted = 2});
    CHECK(pool.map(work, items, {.chunksize = 3, .retries = 2}).size() == 9);
    CHECK(oracle::executions(4) == 3);
  }
}

TEST_CASE("a job that crashes leaves the other jobs alone") {
  ProcessPool pool(2);
  oracle::Fresh fresh;
  oracle::page.words[8] = 1;
  std::vector<int> bad(200);
  for (int i = 0; i < 200; ++i) bad[static_cast<std::size_t>(i)] = 1000 + i;
  auto crashing = pool.map_async(die_if_multiple, bad, {.chunksize = 2});
  CHECK(pool.map(plain, numbers(1000), {.chunksize = 3}) == numbers(1000));
  CHECK_THROWS_AS(crashing.get(), WorkerCrashed);
  CHECK(oracle::executed(1000) == 1000);
  CHECK(oracle::executed(1200) == 1200);
}

TEST_CASE("a large result that dies half-way is discarded, and its ring is as good as new") {
  ProcessPool pool(1, {.result_ring = 4096});
  for (int i = 0; i < 5; ++i) {
    CHECK_THROWS_AS(pool.apply([] { return HalfWay{std::vector<char>(100'000)}; }), WorkerCrashed);
    CHECK(pool.apply([] { return std::string(50'000, 'x'); }) == std::string(50'000, 'x'));
  }
}

TEST_CASE("the error says what died of what, where") {
  ProcessPool pool(1);
  std::string text;
  try {
    pool.map(
        [](int item) -> int {
          if (item == 3) ::kill(::getpid(), SIGSEGV);
          return item;
        },
        numbers(5));
  } catch (const WorkerCrashed& error) {
    text = error.what();
    CHECK(error.index() == 3);
  }
  CHECK_FALSE(text.empty());
}

TEST_CASE("a finished result is kept though its worker dies right after it") {
  ProcessPool pool(1);
  for (int i = 0; i < 50; ++i) {
    const auto outcomes = pool.try_map(
        [](int item) {
          if (item == 1) ::_exit(1);
          return item;
        },
        std::vector<int>{0, 1}, {.chunksize = 2});
    REQUIRE(outcomes[0].has_value());
    REQUIRE_FALSE(outcomes[1].has_value());
  }
}

TEST_CASE("a core limit keeps workers from dumping core") {
  ProcessPool pool(1);
  CHECK(pool.apply([] {
    struct rlimit limit{};
    ::getrlimit(RLIMIT_CORE, &limit);
    return limit.rlim_cur;
  }) == 0);
}
