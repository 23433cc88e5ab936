/// Contract: `imap`, `imap_unordered` and `ResultRange`.
///
/// Runs in the test; the tasks run in workers of both pools.
#include "contract.hpp"

#include <algorithm>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <variant>

using namespace contract;

namespace {

std::vector<int> sorted(std::vector<int> values) {
  std::ranges::sort(values);
  return values;
}
int same(int x) { return x; }
std::unique_ptr<int> boxed(int x) { return std::make_unique<int>(x); }

}  // namespace

static_assert(std::ranges::input_range<libpool::ResultRange<int>>);
static_assert(std::ranges::input_range<libpool::ResultRange<std::unique_ptr<int>>>);
static_assert(std::is_move_constructible_v<libpool::ResultRange<int>>);
static_assert(std::is_move_assignable_v<libpool::ResultRange<int>>);
static_assert(!std::is_copy_constructible_v<libpool::ResultRange<int>>);
static_assert(!std::is_copy_assignable_v<libpool::ResultRange<int>>);

BOTH_POOLS("imap yields the results in the order of the input") {
  Pool pool(3);
  static_assert(std::is_same_v<decltype(pool.imap(square, numbers(1))), libpool::ResultRange<int>>);
  CHECK(drain(pool.imap(square, numbers(100))) == squares(100));
}

BOTH_POOLS("imap_unordered yields every result once") {
  Pool pool(3);
  CHECK(sorted(drain(pool.imap_unordered(square, numbers(100)))) == squares(100));
}

BOTH_POOLS("imap takes every chunk size") {
  Pool pool(2);
  for (std::size_t chunksize : {1U, 7U, 50U, 51U}) {
    CAPTURE(chunksize);
    CHECK(drain(pool.imap(square, numbers(50), {.chunksize = chunksize})) == squares(50));
    CHECK(sorted(drain(pool.imap_unordered(square, numbers(50), {.chunksize = chunksize}))) ==
          squares(50));
  }
}

BOTH_POOLS("imap of an empty range is at its end") {
  Pool pool(2);
  CHECK(pool.imap(square, std::vector<int>{}).next() == std::nullopt);
  CHECK(drain(pool.imap_unordered(square, std::vector<int>{})).empty());
}

BOTH_POOLS("imap yields a result while later tasks still run") {
  Pool pool(2);
  oracle::Fresh fresh;
  auto results =
      pool.imap([](int item) { return item == 0 ? item : wait_at_gate(item); }, numbers(5));
  CHECK(results.next() == 0);
  oracle::Fresh::open_gate();
  CHECK(drain(results) == std::vector<int>{1, 2, 3, 4});
}

BOTH_POOLS("imap_unordered yields what finishes first, though it came later") {
  Pool pool(2);
  oracle::Fresh fresh;
  auto results = pool.imap_unordered(first_waits, numbers(10));
  std::vector<int> seen;
  for (int i = 0; i < 9; ++i) seen.push_back(results.next().value());
  CHECK(sorted(seen) == std::vector<int>{1, 2, 3, 4, 5, 6, 7, 8, 9});
  oracle::Fresh::open_gate();
  CHECK(results.next() == 0);
  CHECK(results.next() == std::nullopt);
}

BOTH_POOLS("imap holds results back until their turn") {
  Pool pool(2);
  oracle::Fresh fresh;
  auto results = pool.imap(first_waits, numbers(10));
  REQUIRE(oracle::eventually([] { return oracle::executed(10) == 10; }));
  CHECK_THROWS_AS(results.next(5ms), libpool::TimeoutError);
  oracle::Fresh::open_gate();
  CHECK(drain(results) == numbers(10));
}

BOTH_POOLS("next is empty at the end, and again after it") {
  Pool pool(2);
  auto results = pool.imap(square, numbers(2));
  CHECK(results.next() == 0);
  CHECK(results.next() == 1);
  for (int i = 0; i < 3; ++i) CHECK(results.next() == std::nullopt);
  CHECK(results.next(1s) == std::nullopt);
}

BOTH_POOLS("next with a timeout throws TimeoutError and loses nothing") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto results = pool.imap(wait_at_gate, numbers(2));
  CHECK_THROWS_AS(results.next(5ms), libpool::TimeoutError);
  CHECK_THROWS_AS(results.next(0s), libpool::TimeoutError);
  CHECK_THROWS_AS(results.next(-1h), libpool::TimeoutError);
  oracle::Fresh::open_gate();
  CHECK(results.next(std::chrono::hours::max()) == 0);
  CHECK(results.next(60s) == 1);
  CHECK(results.next(60s) == std::nullopt);
}

BOTH_POOLS("a range is moved, and goes on from where it was") {
  Pool pool(2);
  auto first = pool.imap(square, numbers(4));
  CHECK(first.next() == 0);
  auto second = std::move(first);
  CHECK(second.next() == 1);
  auto third = pool.imap(square, numbers(1));
  third = std::move(second);
  CHECK(drain(third) == std::vector<int>{4, 9});
}

BOTH_POOLS("a range works in a pipeline of views") {
  Pool pool(2);
  auto results = pool.imap(square, numbers(10));
  int sum = 0;
  for (int value :
       results | std::views::filter([](int x) { return x % 2 == 0; }) | std::views::take(3)) {
    sum += value;
  }
  CHECK(sum == 0 + 4 + 16);
}

BOTH_POOLS("iteration may stop and go on") {
  Pool pool(2);
  auto results = pool.imap(square, numbers(6));
  for (int value : results) {
    if (value == 4) break;
  }
  const auto rest = drain(results);
  CHECK((rest == std::vector<int>{9, 16, 25} || rest == std::vector<int>{4, 9, 16, 25}));
}

BOTH_POOLS("imap of a void function yields monostate") {
  oracle::Fresh fresh;
  Pool pool(2);
  auto results = pool.imap(oracle::count_execution, numbers(5));
  static_assert(std::is_same_v<decltype(results), libpool::ResultRange<std::monostate>>);
  CHECK(drain(results).size() == 5);
  CHECK(oracle::executed(5) == 5);
  CHECK(drain(pool.imap_unordered(oracle::count_execution, numbers(3))).size() == 3);
}

BOTH_POOLS("imap yields results that can only be moved") {
  Pool pool(2);
  auto results = pool.imap(boxed, numbers(3));
  CHECK(*results.next().value() == 0);
  int next = 1;
  for (auto&& box : results) CHECK(*box == next++);
  CHECK(next == 3);
}

BOTH_POOLS("imap takes elements that can only be moved from an rvalue container") {
  Pool pool(2);
  std::vector<std::unique_ptr<int>> boxes;
  for (int i = 0; i < 10; ++i) boxes.push_back(boxed(i));
  CHECK(drain(pool.imap([](std::unique_ptr<int> box) { return *box; }, std::move(boxes))) ==
        numbers(10));
}

BOTH_POOLS("next throws the error of an item that failed, and goes on after it") {
  Pool pool(2);
  for (std::size_t chunksize : {1U, 3U, 10U, 11U}) {
    CAPTURE(chunksize);
    auto results = pool.imap(throw_if_odd, numbers(10), {.chunksize = chunksize});
    for (int i = 0; i < 10; ++i) {
      CAPTURE(i);
      if (i % 2 == 0) {
        CHECK(results.next() == i);
      } else {
        CHECK_THROWS_AS(results.next(), std::out_of_range);
      }
    }
    CHECK(results.next() == std::nullopt);
  }
}

BOTH_POOLS("dereferencing an item that failed throws its error, and iteration can go on after it") {
  Pool pool(2);
  for (std::size_t chunksize : {1U, 3U, 10U, 11U}) {
    CAPTURE(chunksize);
    auto results = pool.imap(throw_if_odd, numbers(10), {.chunksize = chunksize});
    std::vector<int> good;
    int bad = 0;
    for (auto it = results.begin(); it != results.end(); ++it) {
      try {
        good.push_back(*it);
      } catch (const std::out_of_range&) {
        ++bad;
      }
    }
    CHECK(good == std::vector<int>{0, 2, 4, 6, 8});
    CHECK(bad == 5);
  }
}

BOTH_POOLS("imap_unordered gives every error and every result once, for every chunk size") {
  Pool pool(2);
  for (std::size_t chunksize : {1U, 3U, 40U, 41U}) {
    CAPTURE(chunksize);
    auto results = pool.imap_unordered(throw_if_odd, numbers(40), {.chunksize = chunksize});
    int good = 0;
    int bad = 0;
    for (bool more = true; more;) {
      try {
        const auto value = results.next();
        more = value.has_value();
        good += more ? 1 : 0;
      } catch (const std::out_of_range&) {
        ++bad;
      }
    }
    CHECK(good == 20);
    CHECK(bad == 20);
  }
}

BOTH_POOLS("six threads share one range: each item is given once and each thread sees the end") {
  Pool pool(2);
  auto results = pool.imap(square, numbers(3000));
  std::mutex mutex;
  std::vector<int> seen;
  std::atomic<int> ends = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 6; ++i) {
      threads.emplace_back([&] {
        while (const auto value = results.next()) {
          const std::lock_guard lock(mutex);
          seen.push_back(*value);
        }
        ++ends;
      });
    }
  }
  CHECK(ends == 6);
  CHECK(sorted(seen) == squares(3000));
}

BOTH_POOLS("six threads share one unordered range, with timeouts and errors") {
  Pool pool(2);
  auto results = pool.imap_unordered(throw_if_odd, numbers(2000), {.chunksize = 3});
  std::atomic<int> good = 0;
  std::atomic<int> bad = 0;
  std::atomic<int> ends = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 6; ++i) {
      threads.emplace_back([&] {
        for (;;) {
          try {
            if (!results.next(1ms)) break;
            ++good;
          } catch (const std::out_of_range&) {
            ++bad;
          } catch (const libpool::TimeoutError&) {
          }
        }
        ++ends;
      });
    }
  }
  CHECK(ends == 6);
  CHECK(good == 1000);
  CHECK(bad == 1000);
}

BOTH_POOLS("threads that wait in next see the end when the last item is taken") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto results = pool.imap(wait_at_gate, numbers(1));
  std::atomic<int> items = 0;
  std::atomic<int> ends = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 6; ++i) {
      threads.emplace_back([&] {
        while (results.next()) ++items;
        ++ends;
      });
    }
    std::this_thread::sleep_for(5ms);
    oracle::Fresh::open_gate();
  }
  CHECK(items == 1);
  CHECK(ends == 6);
}

BOTH_POOLS("a range outlives its pool: the results already there, then PoolTerminated") {
  std::optional<Pool> pool(std::in_place, 2U);
  auto results = pool->imap(square, numbers(10));
  CHECK(results.next() == 0);
  pool.reset();
  int next = 1;
  bool terminated = false;
  try {
    while (const auto value = results.next()) {
      REQUIRE(*value == next * next);
      ++next;
    }
  } catch (const libpool::PoolTerminated&) {
    terminated = true;
  }
  CHECK((terminated || next == 10));
}

BOTH_POOLS("a finished range outlives its pool") {
  std::optional<Pool> pool(std::in_place, 2U);
  auto results = pool->imap(square, numbers(10));
  pool->close();
  pool->join();
  pool.reset();
  CHECK(drain(results) == squares(10));
}

BOTH_POOLS("several ranges of one pool are read by turns") {
  Pool pool(2);
  auto one = pool.imap(square, numbers(600));
  auto two = pool.imap(square, numbers(600));
  auto three = pool.imap_unordered(square, numbers(600));
  for (int i = 0; i < 600; ++i) {
    REQUIRE(one.next() == i * i);
    REQUIRE(two.next() == i * i);
    REQUIRE(three.next().has_value());
  }
}

BOTH_POOLS("a range of a hundred thousand items yields them all") {
  Pool pool(2);
  CHECK(drain(pool.imap([](int x) { return x; }, numbers(100'000), {.chunksize = 100})) ==
        numbers(100'000));
}

BOTH_POOLS("one thread takes very many items, then others come too: each item is given once") {
  Pool pool(2);
  constexpr int count = 60'000;
  auto results = pool.imap(same, numbers(count));
  std::vector<std::atomic<int>> seen(count);
  const auto take = [&] {
    const auto result = results.next();
    if (result) ++seen.at(static_cast<std::size_t>(*result));
    return result.has_value();
  };
  for (int i = 0; i < count / 3; ++i) REQUIRE(take());
  {
    std::vector<std::jthread> others;
    for (int i = 0; i < 3; ++i) {
      others.emplace_back([&] {
        while (take()) {
        }
      });
    }
    while (take()) {
    }
  }
  for (const auto& times : seen) REQUIRE(times == 1);
}

BOTH_POOLS("a consumer is never left without items, whatever the window") {
  Pool pool(2);
  for (const std::size_t buffersize : {1U, 4U, 60U, 64U, 100U}) {
    auto results = pool.imap(same, numbers(3000), {.buffersize = buffersize});
    int taken = 0;
    while (results.next(1min)) ++taken;
    CHECK(taken == 3000);
  }
}
