/// Facts about inputs: where they live, how far they are pulled, how their elements are given.
#include <libpool/detail/source.hpp>

#include <doctest/doctest.h>

#include <array>
#include <deque>
#include <forward_list>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <ranges>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace libpool::detail;

namespace {

using Any = decltype([](const auto&... values) { return sizeof...(values); });

/// All elements, as the first argument of each.
template <class Source>
auto all(Source source) {
  std::vector<std::tuple_element_t<0, typename Source::Arguments>> values;
  while (source.next(
      [&](auto&& value, auto&&...) { values.push_back(std::forward<decltype(value)>(value)); })) {
  }
  return values;
}

/// Counts copies and moves made of it.
struct Counted {
  int copies = 0;
  int moves = 0;
  Counted() = default;
  Counted(const Counted& other) : copies(other.copies + 1), moves(other.moves) {}
  Counted(Counted&& other) noexcept : copies(other.copies), moves(other.moves + 1) {}
  Counted& operator=(const Counted&) = default;
  Counted& operator=(Counted&&) = default;
};

/// Trivially copyable in name.
struct MoveOnlyBits {
  MoveOnlyBits() = default;
  MoveOnlyBits(MoveOnlyBits&&) = default;
  int value = 0;
};

/// Counts how often it is read, and throws at one element.
struct Scripted {
  struct Iterator {
    using value_type = int;
    using difference_type = std::ptrdiff_t;
    Scripted* script;
    int at = 0;
    int operator*() const {
      if (at == script->throws_at) throw std::runtime_error("input");
      return at;
    }
    Iterator& operator++() {
      ++script->steps;
      ++at;
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return at == script->size; }
  };
  Iterator begin() { return {this}; }
  static std::default_sentinel_t end() { return {}; }

  int size = 5;
  int throws_at = -1;
  int steps = 0;
};

/// Says that it has ten elements, and has three, side by side.
struct Boastful {
  std::vector<int> values{1, 2, 3};
  auto begin() const { return values.begin(); }
  auto end() const { return values.end(); }
  static std::size_t size() { return 10; }
};

}  // namespace

TEST_CASE("a blocking call borrows an lvalue, another copies it") {
  std::vector<int> values{1, 2};
  auto borrowed = make_source<Any, true>(values);
  auto copied = make_source<Any, false>(values);
  values = {3, 4};
  CHECK(all(std::move(borrowed)) == std::vector<int>{3, 4});
  CHECK(all(std::move(copied)) == std::vector<int>{1, 2});
}

TEST_CASE("an rvalue container is moved in, and gives its elements as rvalues") {
  std::vector<std::unique_ptr<int>> values;
  values.push_back(std::make_unique<int>(7));
  auto source = make_source<Any, false>(std::move(values));
  CHECK(std::same_as<decltype(source)::Received, std::tuple<std::unique_ptr<int>&&>>);
  CHECK(*all(std::move(source)).at(0) == 7);
}

TEST_CASE("elements of lvalues and views are never moved from") {
  std::vector<std::string> values{"a long string that lives on the heap, if anything does"};
  CHECK(all(make_source<Any, true>(values)).size() == 1);
  CHECK(all(make_source<Any, true>(std::views::all(values))).size() == 1);
  const auto moving =
      std::ranges::subrange(std::move_iterator(values.begin()), std::move_sentinel(values.end()));
  CHECK(all(make_source<Any, true>(moving)).size() == 1);
  CHECK(values[0].size() > 20);
}

TEST_CASE("a view is kept as a view") {
  std::vector<int> values{1, 2, 3};
  auto source = make_source<Any, false>(values | std::views::drop(1));
  CHECK(std::same_as<decltype(source)::Received, std::tuple<const int&>>);
  values = {4, 5, 6};
  CHECK(all(std::move(source)) == std::vector<int>{5, 6});
}

TEST_CASE("arrays and initializer lists are copied by calls that do not block") {
  int array[] = {1, 2, 3};
  auto source = make_source<Any, false>(array);
  array[0] = 9;
  CHECK(all(std::move(source)) == std::vector<int>{1, 2, 3});
  CHECK(all(make_source<Any, false>(std::initializer_list<int>{4, 5})) == std::vector<int>{4, 5});
}

TEST_CASE("proxies travel as values") {
  std::vector<bool> flags{true, false, true};
  auto source = make_source<Any, true>(flags);
  CHECK(std::same_as<decltype(source)::Arguments, std::tuple<bool>>);
  CHECK(all(std::move(source)) == flags);
  CHECK(all(make_source<Any, false>(std::move(flags))) == std::vector<bool>{true, false, true});
}

TEST_CASE("elements are converted to the parameter's type") {
  const auto half = [](double value) { return value / 2; };
  auto source = make_source<decltype(half), true>(std::vector<int>{1, 2});
  CHECK(std::same_as<decltype(source)::Arguments, std::tuple<double>>);
  CHECK(all(std::move(source)) == std::vector<double>{1, 2});
}

TEST_CASE("input-only ranges and ranges without a size are pulled once") {
  std::istringstream text("1 2 3");
  CHECK(all(make_source<Any, true>(std::views::istream<int>(text))) == std::vector<int>{1, 2, 3});
  CHECK(all(make_source<Any, false>(std::forward_list<int>{1, 2})) == std::vector<int>{1, 2});
  CHECK(make_source<Any, false>(std::forward_list<int>{1, 2}).size_hint() == std::nullopt);
  CHECK(make_source<Any, false>(std::list<int>{1, 2}).size_hint() == 2);
}

TEST_CASE("a size is a hint: what the range gives counts") {
  Boastful boastful;
  auto source = make_source<Any, true>(boastful);
  CHECK(source.size_hint() == 10);
  CHECK(source.contiguous().size() == 3);
  CHECK(all(std::move(source)) == boastful.values);
}

TEST_CASE("an element is asked for only when it is wanted") {
  Scripted script;
  auto source = make_source<Any, true>(script);
  const auto ignore = [](auto&&) {};
  CHECK(source.next(ignore));
  CHECK(script.steps == 0);
  CHECK(source.next(ignore));
  CHECK(script.steps == 1);
}

TEST_CASE("what the input throws comes through, and ends it") {
  Scripted script{.throws_at = 2};
  auto source = make_source<Any, true>(script);
  int pulled = 0;
  const auto count = [&](auto&&) { ++pulled; };
  CHECK(source.next(count));
  CHECK(source.next(count));
  CHECK_THROWS_WITH(source.next(count), "input");
  CHECK_FALSE(source.next(count));
  CHECK(pulled == 2);
}

TEST_CASE("elements side by side can be taken as a span") {
  std::vector<int> values{1, 2, 3, 4};
  auto source = make_source<Any, true>(values);
  source.next([](auto&&) {});
  CHECK(source.contiguous().size() == 3);
  CHECK(source.contiguous().data() == values.data() + 1);
  source.skip(2);
  CHECK(all(std::move(source)) == std::vector<int>{4});
}

TEST_CASE("elements of an own container stay where they are") {
  CHECK(decltype(make_source<Any, false>(std::vector<int>()))::keeps_elements);
  CHECK(decltype(make_source<Any, false>(std::list<std::string>()))::keeps_elements);
  std::deque<int> deque;
  CHECK(decltype(make_source<Any, false>(deque))::keeps_elements);
  CHECK(decltype(make_source<Any, true>(deque))::keeps_elements);
  CHECK_FALSE(decltype(make_source<Any, false>(std::vector<bool>()))::keeps_elements);
  // Copying these may run any code: the caller does it.
  std::vector<std::function<void()>> functions;
  CHECK_FALSE(decltype(make_source<Any, true>(functions))::keeps_elements);
  CHECK(decltype(make_source<Any, false>(functions))::keeps_elements);
  std::vector<std::vector<std::string>> texts;
  CHECK(decltype(make_source<Any, true>(texts))::borrows);
  CHECK_FALSE(decltype(make_source<Any, true>(std::as_const(functions)))::borrows);
  // Nor is an element to be a large part of a thread's stack, one that cannot be copied to be
  // copied as bits, or one that a view makes in the same place as the last to be read later.
  std::deque<std::array<char, 8192>> large;
  CHECK_FALSE(decltype(make_source<Any, true>(large))::borrows);
  std::vector<MoveOnlyBits> bits(1);
  CHECK_FALSE(decltype(make_source<Any, true>(bits))::borrows);
  auto owning = std::vector<int>(3) | std::views::filter([](int) { return true; });
  CHECK_FALSE(decltype(make_source<Any, true>(owning))::borrows);
  // Elements of a moved-in set are const, and f is to get rvalues: it gets copies.
  CHECK_FALSE(decltype(make_source<Any, false>(std::set<std::string>()))::keeps_elements);
}

TEST_CASE("an own container gives places, without copies") {
  std::vector<Counted> values(2);
  auto source = make_source<Any, false>(std::move(values));
  int copies = 0;
  while (source.next_element([&](Counted* place) { copies += place->copies + place->moves; })) {
  }
  CHECK(copies == 0);
}

TEST_CASE("starmap unpacks tuple-likes of any kind") {
  std::vector<std::pair<int, std::string>> pairs{{1, "one"}};
  auto of_pairs = make_star_source<Any, true>(pairs);
  CHECK(std::same_as<decltype(of_pairs)::Arguments, std::tuple<int, std::string>>);
  CHECK(all(std::move(of_pairs)) == std::vector<int>{1});
  auto of_arrays = make_star_source<Any, false>(std::vector<std::array<int, 3>>{{1, 2, 3}});
  CHECK(std::same_as<decltype(of_arrays)::Received, std::tuple<int&&, int&&, int&&>>);
  auto of_map = make_star_source<Any, false>(std::map<int, std::string>{{1, "one"}});
  CHECK(std::same_as<decltype(of_map)::Arguments, std::tuple<int, std::string>>);
}

TEST_CASE("references in a tuple of a view are not moved from") {
  std::string text = "a long string that lives on the heap, if anything does";
  auto tied = std::views::iota(0, 1) |
              std::views::transform([&](int i) { return std::tuple<int, std::string&>(i, text); });
  auto source = make_star_source<Any, true>(tied);
  CHECK(std::same_as<decltype(source)::Arguments, std::tuple<int, std::string>>);
  std::string copy;
  source.next([&](auto&&, auto&& value) { copy = std::forward<decltype(value)>(value); });
  CHECK(copy == text);
  CHECK(text.size() > 20);
}

TEST_CASE("arguments of apply are received as they were given") {
  const auto f = [](const std::string&, std::unique_ptr<int>, double) {};
  std::string lvalue = "text";
  using Source = ArgumentsSource<decltype(f), std::string&, std::unique_ptr<int>&&, int&&>;
  Source source(lvalue, std::make_unique<int>(1), 2);
  CHECK(std::same_as<Source::Received,
                     std::tuple<const std::string&, std::unique_ptr<int>&&, double&&>>);
  int calls = 0;
  while (source.next([&](auto&&...) { ++calls; })) {
  }
  CHECK(calls == 1);
  CHECK(lvalue == "text");
}
