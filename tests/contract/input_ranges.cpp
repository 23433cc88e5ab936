/// Contract: input ranges that throw, that say a wrong size, that wait.
///
/// Runs in the test; inputs are pulled on threads of the test, the tasks run in workers of both
/// pools.
#include "contract.hpp"

#include <algorithm>
#include <array>
#include <thread>

using namespace contract;

namespace {

constexpr int length = 20;
constexpr std::array<std::size_t, 4> chunksizes{1, 7, length, length + 1};
constexpr std::array<int, 3> places{0, length / 2, length - 1};

/// Calls `check(script, chunksize)` for every place of the throwing element, both ways to throw,
/// and every chunk size.
template <class Check>
void for_each_failure(Check check) {
  for (const int place : places) {
    for (const bool on_advance : {false, true}) {
      for (const std::size_t chunksize : chunksizes) {
        CAPTURE(place);
        CAPTURE(on_advance);
        CAPTURE(chunksize);
        Script script{.items = length, .throws_at = place, .on_advance = on_advance};
        check(script, chunksize);
      }
    }
  }
}

/// Takes all that a range gives before its input breaks; -1 stands for a range that ends without
/// breaking.
template <class Range>
std::vector<int> until_broken(Range& results) {
  std::vector<int> seen;
  try {
    while (const auto value = results.next()) seen.push_back(*value);
  } catch (const InputBroke&) {
    return seen;
  }
  seen.push_back(-1);
  return seen;
}

/// A container that can be stepped through only while it is not const.
class Restless {
 public:
  Restless() : texts_{"one", "two"} {}
  auto begin() { return texts_.begin(); }
  auto end() { return texts_.end(); }

 private:
  std::vector<std::string> texts_;
};

}  // namespace

BOTH_POOLS("map throws what its input range throws, at any element, for every chunk size") {
  Pool pool(2);
  for_each_failure([&](Script& script, std::size_t chunksize) {
    CHECK_THROWS_AS(pool.map(square, Scripted(script), {.chunksize = chunksize}), InputBroke);
  });
  CHECK(pool.map(square, numbers(10)) == squares(10));
}

BOTH_POOLS(
    "imap throws what its input throws after the results of all items before it, then ends") {
  Pool pool(2);
  for_each_failure([&](Script& script, std::size_t chunksize) {
    std::optional<libpool::ResultRange<int>> results;
    REQUIRE_NOTHROW(results.emplace(pool.imap(square, Scripted(script), {.chunksize = chunksize})));
    CHECK(until_broken(*results) == squares(script.throws_at));
    CHECK(results->next() == std::nullopt);
  });
}

BOTH_POOLS(
    "imap_unordered throws what its input throws after the results of all items before it, then "
    "ends") {
  Pool pool(2);
  for_each_failure([&](Script& script, std::size_t chunksize) {
    std::optional<libpool::ResultRange<int>> results;
    REQUIRE_NOTHROW(
        results.emplace(pool.imap_unordered(square, Scripted(script), {.chunksize = chunksize})));
    auto seen = until_broken(*results);
    std::ranges::sort(seen);
    CHECK(seen == squares(script.throws_at));
    CHECK(results->next() == std::nullopt);
  });
}

BOTH_POOLS("an iteration meets the exception of the input, then ends") {
  Pool pool(2);
  Script script{.items = 10, .throws_at = 3};
  auto results = pool.imap(square, Scripted(script));
  int good = 0;
  int bad = 0;
  for (auto it = results.begin(); it != results.end(); ++it) {
    try {
      static_cast<void>(*it);
      ++good;
    } catch (const InputBroke&) {
      ++bad;
    }
  }
  CHECK(good == 3);
  CHECK(bad == 1);
}

BOTH_POOLS("the items before a throwing element still run, once") {
  Pool pool(2);
  oracle::Fresh fresh;
  Script script{.items = 100, .throws_at = 50};
  auto results = pool.imap(count_and_return, Scripted(script), {.chunksize = 7});
  CHECK(until_broken(results).size() == 50);
  CHECK(oracle::executed(50) == 50);
}

BOTH_POOLS("an error of an item and one of the input both appear") {
  Pool pool(2);
  Script script{.items = 10, .throws_at = 2};
  auto results = pool.imap(throw_if_odd, Scripted(script));
  CHECK(results.next() == 0);
  CHECK_THROWS_AS(results.next(), std::out_of_range);
  CHECK_THROWS_AS(results.next(), InputBroke);
  CHECK(results.next() == std::nullopt);
}

BOTH_POOLS("an input that throws something that is no exception class comes through") {
  Pool pool(2);
  auto view = std::views::iota(0, 5) | std::views::transform([](int x) {
                if (x == 3) throw 42;
                return x;
              });
  CHECK_THROWS_AS(pool.map(square, view), int);
  CHECK_THROWS_AS(pool.map_async(square, view).get(), int);
  auto results = pool.imap(square, view);
  for (int i = 0; i < 3; ++i) CHECK(results.next() == i * i);
  CHECK_THROWS_AS(results.next(), int);
}

BOTH_POOLS("a sized range that yields fewer than it said gives the results of what it yields") {
  Pool pool(2);
  for (int yields : {0, 1, 19}) {
    for (std::size_t chunksize : chunksizes) {
      CAPTURE(yields);
      CAPTURE(chunksize);
      Script script{.items = yields};
      CHECK(pool.map(square, Boastful(script, 20), {.chunksize = chunksize}) == squares(yields));
      CHECK(pool.map_async(square, Boastful(script, 20), {.chunksize = chunksize}).get() ==
            squares(yields));
      CHECK(drain(pool.imap(square, Boastful(script, 20), {.chunksize = chunksize})) ==
            squares(yields));
    }
  }
}

BOTH_POOLS("a sized range that yields more than it said gives the results of all") {
  Pool pool(2);
  Script script{.items = 50};
  CHECK(pool.map(square, Boastful(script, 20)) == squares(50));
}

BOTH_POOLS("a range that claims an absurd size is read, not believed") {
  Pool pool(2);
  Script script{.items = 50};
  CHECK(pool.map(square, Boastful(script, std::size_t{1} << 50)) == squares(50));
  CHECK(pool.map_async(square, Boastful(script, std::size_t{1} << 50)).get() == squares(50));
}

BOTH_POOLS("a slow input delays no other job") {
  Script script{.items = 10, .waits_at = 3};
  Pool pool(2);
  auto slow = pool.imap(square, Scripted(script));
  auto also_slow = pool.map_async(square, Scripted(script));
  CHECK(pool.map(square, numbers(100)) == squares(100));
  CHECK(pool.apply_async(square, 5).get() == 25);
  CHECK(drain(pool.imap(square, numbers(100))) == squares(100));
  CHECK(pool.map_async(square, numbers(100)).get() == squares(100));
  CHECK_FALSE(also_slow.ready());
  script.release = true;
  CHECK(drain(slow) == squares(10));
  CHECK(also_slow.get() == squares(10));
}

BOTH_POOLS("results of items before a slow element come while the input still waits") {
  Script script{.items = 10, .waits_at = 3};
  Pool pool(2);
  auto results = pool.imap(square, Scripted(script));
  for (int i = 0; i < 3; ++i) CHECK(results.next() == i * i);
  CHECK_THROWS_AS(results.next(5ms), libpool::TimeoutError);
  script.release = true;
  CHECK(results.next() == 9);
}

BOTH_POOLS("join waits for a slow input") {
  Script script{.items = 10, .waits_at = 3};
  Pool pool(2);
  auto results = pool.imap(square, Scripted(script));
  pool.close();
  std::jthread releaser([&] {
    std::this_thread::sleep_for(30ms);
    script.release = true;
  });
  pool.join();
  CHECK(script.ended);
  CHECK(drain(results) == squares(10));
}

BOTH_POOLS("map over an input of another pool's results works") {
  Pool first(2);
  Pool second(2);
  CHECK(second.map(square, first.imap(square, numbers(10))) ==
        std::vector<int>{0, 1, 16, 81, 256, 625, 1296, 2401, 4096, 6561});
}

BOTH_POOLS("imap over the results of the same pool works") {
  Pool pool(2);
  const auto results = drain(pool.imap(square, pool.imap(square, numbers(200))));
  REQUIRE(results.size() == 200);
  CHECK(results[3] == 81);
}

BOTH_POOLS("an input may use the pool while it is pulled") {
  Pool pool(2);
  auto view =
      std::views::iota(0, 10) | std::views::transform([&](int x) { return pool.apply(square, x); });
  CHECK(pool.map([](int x) { return x; }, view) == squares(10));
  CHECK(drain(pool.imap([](int x) { return x; }, view)) == squares(10));
}

BOTH_POOLS("an input may begin to use the pool, or to wait for its user, when the pool is full") {
  Pool pool(2);
  const auto same = [](int x) { return x; };
  auto one_calls = std::views::iota(0, 2000) | std::views::transform([&](int x) {
                     return x == 1000 ? pool.apply([](int y) { return y; }, x) : x;
                   });
  CHECK(pool.map(same, one_calls, {.chunksize = 1}) == numbers(2000));
  CHECK(drain(pool.imap(same, one_calls)) == numbers(2000));
  std::atomic<bool> waits{false};
  std::atomic<bool> goes_on{false};
  auto one_waits = std::views::iota(0, 2000) | std::views::transform([&](int x) {
                     if (x != 1000) return x;
                     waits = true;
                     static_cast<void>(oracle::eventually([&] { return goes_on.load(); }));
                     return goes_on ? x : -1;
                   });
  std::jthread other([&] {
    static_cast<void>(oracle::eventually([&] { return waits.load(); }));
    goes_on = pool.apply_async(square, 3).get() == 9;
  });
  CHECK(pool.map(same, one_waits, {.chunksize = 1}) == numbers(2000));
}

BOTH_POOLS("a blocking call may refer to the caller's range") {
  Pool pool(2);
  std::vector<std::string> words(100, std::string(1000, 'x'));
  const auto sizes = pool.map([](const std::string& word) { return word.size(); }, words);
  CHECK(sizes == std::vector<std::size_t>(100, 1000));
}

BOTH_POOLS("the input of a blocking call is pulled once") {
  Pool pool(2);
  Script script{.items = 1000};
  CHECK(pool.map(square, Scripted(script)) == squares(1000));
  CHECK(script.read == 1000);
}

BOTH_POOLS("a container whose begin is not const is copied, and its elements are constant") {
  Pool pool(2);
  Restless texts;
  const auto twice = [](const std::string& text) { return text + text; };
  const std::vector<std::string> expected{"oneone", "twotwo"};
  CHECK(pool.map(twice, texts) == expected);
  CHECK(pool.map_async(twice, texts).get() == expected);
  auto results = pool.imap(twice, texts);
  CHECK(results.next() == expected[0]);
  CHECK(results.next() == expected[1]);
  const auto take = [](auto&& text) { return std::string(std::forward<decltype(text)>(text)); };
  CHECK(pool.map_async(take, texts).get() == std::vector<std::string>{"one", "two"});
  CHECK(*texts.begin() == "one");
}
