/// Contract: `map` and what its function receives.
///
/// Runs in the test; the tasks run in workers of both pools.
#include "contract.hpp"

#include <deque>
#include <forward_list>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

using namespace contract;

namespace {

int take_by_value(std::string text) { return static_cast<int>(std::move(text).size()); }
std::string with_tail(const std::string& text) { return text + "!"; }
bool is_even(int x) { return x % 2 == 0; }
int value_behind(std::unique_ptr<int> pointer) { return *pointer; }
int value_seen(const std::unique_ptr<int>& pointer) { return *pointer; }
std::unique_ptr<int> boxed(int x) { return std::make_unique<int>(x); }

/// Says how it was called: by a constant reference or by an rvalue reference.
struct Reception {
  int operator()(const std::string&) const { return 1; }
  int operator()(std::string&&) const { return 2; }
};

std::vector<std::unique_ptr<int>> boxes(int n) {
  std::vector<std::unique_ptr<int>> result;
  for (int i = 0; i < n; ++i) result.push_back(boxed(i));
  return result;
}

}  // namespace

BOTH_POOLS("map returns the results in the order of the input") {
  Pool pool(3);
  CHECK(pool.map(square, numbers(100)) == squares(100));
}

BOTH_POOLS("map of an empty range returns an empty vector") {
  Pool pool(2);
  CHECK(pool.map(square, std::vector<int>{}).empty());
}

BOTH_POOLS("map of one item returns one result") {
  Pool pool(2);
  CHECK(pool.map(square, std::vector<int>{7}) == std::vector<int>{49});
}

BOTH_POOLS("map of a hundred thousand items returns them all in order") {
  Pool pool(2);
  CHECK(pool.map(square, numbers(46'000)) == squares(46'000));
  const auto same = pool.map([](int x) { return x; }, numbers(100'000));
  CHECK(same == numbers(100'000));
}

BOTH_POOLS("a hundred thousand items each travel in a chunk of their own") {
  Pool pool(2);
  CHECK(pool.map([](int x) { return x; }, numbers(100'000), {.chunksize = 1}) == numbers(100'000));
}

BOTH_POOLS("every chunk size gives the same results") {
  Pool pool(3);
  for (int n : {1, 2, 7, 8, 50}) {
    const auto items = static_cast<std::size_t>(n);
    for (std::size_t chunksize :
         {std::size_t{1}, std::size_t{7}, items, items + 1, std::size_t{1} << 60}) {
      CAPTURE(n);
      CAPTURE(chunksize);
      CHECK(pool.map(square, numbers(n), {.chunksize = chunksize}) == squares(n));
    }
  }
}

BOTH_POOLS("map runs every item exactly once") {
  oracle::Fresh fresh;
  Pool pool(4);
  pool.map(count_and_return, numbers(5000));
  CHECK(oracle::executed(5000) == 5000);
}

BOTH_POOLS("map of a void function returns nothing, after every call") {
  oracle::Fresh fresh;
  Pool pool(2);
  static_assert(std::is_void_v<decltype(pool.map(oracle::count_execution, numbers(1)))>);
  pool.map(oracle::count_execution, numbers(300));
  CHECK(oracle::executed(300) == 300);
}

BOTH_POOLS("map of a function that returns bool gives a vector of bool") {
  Pool pool(2);
  const auto even = pool.map(is_even, numbers(5));
  static_assert(std::is_same_v<decltype(even), const std::vector<bool>>);
  CHECK(even == std::vector<bool>{true, false, true, false, true});
}

BOTH_POOLS("the result type of map is the decayed result of the function") {
  Pool pool(2);
  const auto result =
      pool.map([](int x) -> const std::string { return std::to_string(x); }, numbers(2));
  static_assert(std::is_same_v<decltype(result), const std::vector<std::string>>);
  CHECK(result == std::vector<std::string>{"0", "1"});
}

BOTH_POOLS("results may be strings") {
  Pool pool(2);
  const std::vector<std::string> words{"a", "", "three"};
  CHECK(pool.map(with_tail, words) == std::vector<std::string>{"a!", "!", "three!"});
}

BOTH_POOLS("the function receives a constant reference from an lvalue container") {
  Pool pool(2);
  std::vector<std::string> words{"a", "b"};
  CHECK(pool.map(Reception{}, words) == std::vector<int>{1, 1});
}

BOTH_POOLS("the function receives a constant reference from a constant container") {
  Pool pool(2);
  const std::vector<std::string> words{"a", "b"};
  CHECK(pool.map(Reception{}, words) == std::vector<int>{1, 1});
}

BOTH_POOLS("the function receives a constant reference from a view") {
  Pool pool(2);
  std::vector<std::string> words{"a", "b"};
  CHECK(pool.map(Reception{}, std::span(words)) == std::vector<int>{1, 1});
  CHECK(pool.map(Reception{}, words | std::views::drop(1)) == std::vector<int>{1});
}

BOTH_POOLS("the function receives an rvalue reference from an rvalue container") {
  Pool pool(2);
  CHECK(pool.map(Reception{}, std::vector<std::string>{"a", "b"}) == std::vector<int>{2, 2});
}

BOTH_POOLS("elements of an lvalue are never moved from") {
  Pool pool(2);
  std::vector<std::string> words{"a string long enough to live on the heap", "b"};
  const auto before = words;
  pool.map(take_by_value, words);
  pool.map(take_by_value, std::span(words));
  CHECK(words == before);
}

BOTH_POOLS("elements that can only be moved travel from an rvalue container") {
  Pool pool(2);
  CHECK(pool.map(value_behind, boxes(20)) == numbers(20));
  CHECK(pool.map(value_seen, boxes(20)) == numbers(20));
}

BOTH_POOLS("results that can only be moved come back") {
  Pool pool(2);
  const auto results = pool.map(boxed, numbers(20));
  REQUIRE(results.size() == 20);
  for (int i = 0; i < 20; ++i) CHECK(*results[static_cast<std::size_t>(i)] == i);
}

BOTH_POOLS("the state of a mutable function lives for one chunk") {
  Pool pool(2);
  const auto calls = pool.map([n = 0](int) mutable { return ++n; }, numbers(10), {.chunksize = 5});
  CHECK(calls == std::vector<int>{1, 2, 3, 4, 5, 1, 2, 3, 4, 5});
}

BOTH_POOLS("the caller's function object is not changed by the calls") {
  Pool pool(2);
  auto count = [n = 0](int) mutable { return ++n; };
  pool.map(count, numbers(10));
  CHECK(count(0) == 1);
}

BOTH_POOLS("map takes a list") {
  Pool pool(2);
  CHECK(pool.map(square, std::list<int>{3, 1, 2}) == std::vector<int>{9, 1, 4});
}

BOTH_POOLS("map takes a forward list") {
  Pool pool(2);
  const std::forward_list<int> values{3, 1, 2};
  CHECK(pool.map(square, values) == std::vector<int>{9, 1, 4});
}

BOTH_POOLS("map takes a deque") {
  Pool pool(2);
  CHECK(pool.map(square, std::deque<int>{3, 1, 2}) == std::vector<int>{9, 1, 4});
}

BOTH_POOLS("map takes a set, whose elements are constant") {
  Pool pool(2);
  CHECK(pool.map(square, std::set<int>{3, 1, 2}) == std::vector<int>{1, 4, 9});
}

BOTH_POOLS("map takes a C array") {
  Pool pool(2);
  const int values[] = {3, 1, 2};
  CHECK(pool.map(square, values) == std::vector<int>{9, 1, 4});
}

BOTH_POOLS("map takes a std::array") {
  Pool pool(2);
  CHECK(pool.map(square, std::array{3, 1, 2}) == std::vector<int>{9, 1, 4});
}

BOTH_POOLS("map takes a vector of bool, whose elements are proxies") {
  Pool pool(2);
  const std::vector<bool> flags{true, false, true};
  CHECK(pool.map([](bool flag) { return flag ? 1 : 0; }, flags) == std::vector<int>{1, 0, 1});
}

BOTH_POOLS("map takes a std::map, whose elements are pairs") {
  Pool pool(2);
  const std::map<int, int> values{{1, 2}, {3, 4}};
  const auto sums =
      pool.map([](const std::pair<const int, int>& p) { return p.first + p.second; }, values);
  CHECK(sums == std::vector<int>{3, 7});
}

BOTH_POOLS("map takes an iota view") {
  Pool pool(2);
  CHECK(pool.map(square, std::views::iota(0, 50)) == squares(50));
}

BOTH_POOLS("map takes a transformed and filtered view") {
  Pool pool(2);
  const std::vector<int> values = numbers(10);
  auto view = values | std::views::filter([](int x) { return x % 2 == 0; }) |
              std::views::transform([](int x) { return x + 1; });
  CHECK(pool.map(square, view) == std::vector<int>{1, 9, 25, 49, 81});
}

BOTH_POOLS("map takes a single-pass view") {
  Pool pool(2);
  Script script{.items = 30};
  CHECK(pool.map(square, Scripted(script)) == squares(30));
}

BOTH_POOLS("map takes an istream view") {
  Pool pool(2);
  std::istringstream text("1 2 3");
  CHECK(pool.map(square, std::views::istream<int>(text)) == std::vector<int>{1, 4, 9});
}

BOTH_POOLS("map takes a view of strings as it stands") {
  Pool pool(2);
  const std::vector<std::string> words{"x", "yy"};
  const auto sizes = pool.map([](std::string_view text) { return text.size(); }, words);
  CHECK(sizes == std::vector<std::size_t>{1, 2});
}

BOTH_POOLS("map of one pool may be called many times") {
  Pool pool(2);
  for (int i = 0; i < 200; ++i) {
    CAPTURE(i);
    REQUIRE(pool.map(square, numbers(5)) == squares(5));
  }
}

BOTH_POOLS("a pool of one worker maps") {
  Pool pool(1);
  CHECK(pool.map(square, numbers(20)) == squares(20));
}
