/// Contract: `Outcome` and the calls that give one for each item.
///
/// Runs in the test; the tasks run in workers of both pools.
#include "contract.hpp"

#include <algorithm>
#include <memory>
#include <type_traits>

using namespace contract;

static_assert(!std::is_convertible_v<libpool::Outcome<int>, bool>, "operator bool is explicit");
static_assert(std::is_constructible_v<bool, libpool::Outcome<int>>);

BOTH_POOLS("try_map gives one outcome per item, in order, and never throws for an item") {
  Pool pool(2);
  for (std::size_t chunksize : {1U, 7U, 20U, 21U}) {
    CAPTURE(chunksize);
    const auto outcomes = pool.try_map(throw_if_odd, numbers(20), {.chunksize = chunksize});
    static_assert(std::is_same_v<decltype(outcomes), const std::vector<libpool::Outcome<int>>>);
    REQUIRE(outcomes.size() == 20);
    for (int i = 0; i < 20; ++i) {
      CAPTURE(i);
      const auto& outcome = outcomes[static_cast<std::size_t>(i)];
      CHECK(outcome.has_value() == (i % 2 == 0));
      CHECK(outcome.index() == static_cast<std::size_t>(i));
    }
  }
}

namespace {

/// Refuses to be made of 2.
struct NotTwo {
  NotTwo() = default;
  NotTwo(int number) : number_(number) {
    if (number == 2) throw std::out_of_range("two");
  }
  int number_ = 0;
};
int number_of(const NotTwo& made) { return made.number_; }
int sum_of(const NotTwo& left, const NotTwo& right) { return left.number_ + right.number_; }

}  // namespace

BOTH_POOLS("an element that cannot become an argument costs its own item only") {
  Pool pool(2);
  for (std::size_t chunksize : {1U, 2U, 5U}) {
    CAPTURE(chunksize);
    const auto outcomes = pool.try_map(number_of, numbers(5), {.chunksize = chunksize});
    REQUIRE(outcomes.size() == 5);
    for (std::size_t i = 0; i < 5; ++i) CHECK(outcomes[i].has_value() == (i != 2));
    CHECK_THROWS_AS(outcomes[2].value(), std::out_of_range);
    std::size_t index = 0;
    for (auto& outcome : pool.try_imap(number_of, numbers(5), {.chunksize = chunksize})) {
      CHECK(outcome.has_value() == (index++ != 2));
    }
    CHECK(index == 5);
  }
  CHECK_THROWS_AS(pool.map(number_of, numbers(5)), std::out_of_range);
  const std::vector<std::pair<int, int>> pairs{{1, 1}, {1, 2}, {3, 3}};
  const auto sums = pool.try_starmap(sum_of, pairs);
  CHECK(sums.size() == 3);
  CHECK_FALSE(sums[1].has_value());
  CHECK(sums[2].value() == 6);
}

BOTH_POOLS("an outcome with a value gives it") {
  Pool pool(2);
  auto outcomes = pool.try_map(throw_if_odd, std::vector<int>{4});
  REQUIRE(outcomes.size() == 1);
  CHECK(outcomes[0].has_value());
  CHECK(static_cast<bool>(outcomes[0]));
  CHECK(outcomes[0].value() == 4);
  CHECK(*outcomes[0] == 4);
  CHECK(outcomes[0].exception() == nullptr);
}

BOTH_POOLS("an outcome without a value throws its error from value") {
  Pool pool(2);
  auto outcomes = pool.try_map(throw_if_odd, std::vector<int>{5});
  REQUIRE(outcomes.size() == 1);
  CHECK_FALSE(outcomes[0].has_value());
  CHECK_FALSE(static_cast<bool>(outcomes[0]));
  CHECK_THROWS_AS(outcomes[0].value(), std::out_of_range);
  REQUIRE(outcomes[0].exception() != nullptr);
  CHECK_THROWS_AS(std::rethrow_exception(outcomes[0].exception()), std::out_of_range);
}

BOTH_POOLS("a value is moved out of an outcome") {
  Pool pool(2);
  auto outcomes = pool.try_map([](int x) { return std::make_unique<int>(x); }, numbers(3));
  const std::unique_ptr<int> moved = std::move(outcomes[2]).value();
  CHECK(*moved == 2);
}

BOTH_POOLS("try_map of an empty range gives no outcomes") {
  Pool pool(2);
  CHECK(pool.try_map(square, std::vector<int>{}).empty());
}

BOTH_POOLS("try_map of a void function gives outcomes of nothing") {
  Pool pool(2);
  auto outcomes = pool.try_map([](int x) { static_cast<void>(throw_if_odd(x)); }, numbers(2));
  static_assert(std::is_same_v<decltype(outcomes), std::vector<libpool::Outcome<void>>>);
  CHECK(outcomes[0].has_value());
  CHECK_NOTHROW(outcomes[0].value());
  CHECK_FALSE(outcomes[1].has_value());
  CHECK_THROWS_AS(outcomes[1].value(), std::out_of_range);
  CHECK(outcomes[1].index() == 1);
}

BOTH_POOLS("try_starmap unpacks and gives one outcome per item") {
  Pool pool(2);
  const auto outcomes = pool.try_starmap([](int x, int y) { return throw_if_odd(x + y); },
                                         std::vector<std::pair<int, int>>{{1, 1}, {1, 2}});
  REQUIRE(outcomes.size() == 2);
  CHECK(outcomes[0].value() == 2);
  CHECK_THROWS_AS(outcomes[1].value(), std::out_of_range);
}

BOTH_POOLS("try_map throws what its input range throws") {
  Pool pool(2);
  Script script{.items = 10, .throws_at = 5};
  CHECK_THROWS_AS(pool.try_map(square, Scripted(script)), InputBroke);
  CHECK(pool.try_map(square, numbers(3)).size() == 3);
}

BOTH_POOLS("try_imap yields outcomes in order") {
  Pool pool(2);
  auto results = pool.try_imap(throw_if_odd, numbers(20), {.chunksize = 3});
  static_assert(std::is_same_v<decltype(results), libpool::ResultRange<libpool::Outcome<int>>>);
  std::size_t index = 0;
  for (auto&& outcome : results) {
    CHECK(outcome.index() == index);
    CHECK(outcome.has_value() == (index % 2 == 0));
    ++index;
  }
  CHECK(index == 20);
}

BOTH_POOLS("try_imap_unordered yields outcomes whose index tells the item") {
  Pool pool(2);
  std::vector<std::size_t> seen;
  for (auto&& outcome : pool.try_imap_unordered(throw_if_odd, numbers(100), {.chunksize = 3})) {
    seen.push_back(outcome.index());
    CHECK(outcome.has_value() == (outcome.index() % 2 == 0));
    if (outcome) CHECK(static_cast<std::size_t>(*outcome) == outcome.index());
  }
  std::ranges::sort(seen);
  REQUIRE(seen.size() == 100);
  for (std::size_t i = 0; i < 100; ++i) CHECK(seen[i] == i);
}

BOTH_POOLS("next of try_imap gives outcomes and is empty at the end") {
  Pool pool(2);
  auto results = pool.try_imap(throw_if_odd, numbers(2));
  CHECK(results.next().value().value() == 0);
  CHECK_THROWS_AS(results.next().value().value(), std::out_of_range);
  CHECK_FALSE(results.next().has_value());
}

BOTH_POOLS("try_imap of a void function yields outcomes of nothing") {
  Pool pool(2);
  auto results = pool.try_imap(nothing, numbers(3));
  static_assert(std::is_same_v<decltype(results), libpool::ResultRange<libpool::Outcome<void>>>);
  int good = 0;
  for (auto&& outcome : results) good += outcome ? 1 : 0;
  CHECK(good == 3);
}

BOTH_POOLS("try_imap throws what its input range throws, after the outcomes before it") {
  Pool pool(2);
  Script script{.items = 10, .throws_at = 3};
  auto results = pool.try_imap(throw_if_odd, Scripted(script));
  for (std::size_t i = 0; i < 3; ++i) CHECK(results.next().value().index() == i);
  CHECK_THROWS_AS(results.next(), InputBroke);
  CHECK_FALSE(results.next().has_value());
}

BOTH_POOLS("an outcome outlives its pool") {
  std::vector<libpool::Outcome<int>> outcomes;
  {
    Pool pool(2);
    outcomes = pool.try_map(throw_if_odd, numbers(2));
  }
  CHECK(*outcomes[0] == 0);
  CHECK_THROWS_AS(outcomes[1].value(), std::out_of_range);
}

TEST_CASE("the error of an outcome of a ProcessPool carries the index of the item") {
  ProcessPool pool(2);
  const auto outcomes = pool.try_map(throw_if_odd, numbers(10), {.chunksize = 4});
  for (std::size_t i = 1; i < 10; i += 2) {
    std::size_t index = 0;
    try {
      static_cast<void>(outcomes[i].value());
    } catch (const libpool::RemoteOrigin& origin) {
      index = origin.index();
    }
    CHECK(index == i);
  }
}
