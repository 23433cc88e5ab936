/// Contract: `starmap`, `apply`, `apply_async`: how arguments reach the function.
///
/// Runs in the test; the tasks run in workers of both pools.
#include "contract.hpp"

#include <array>
#include <memory>
#include <string_view>
#include <tuple>
#include <utility>

using namespace contract;

namespace {

std::string repeat(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}
int sum3(int x, int y, int z) { return x * 100 + y * 10 + z; }
int answer() { return 42; }
int take_both(std::unique_ptr<int> x, int y) { return *x + y; }
std::unique_ptr<int> boxed(int x) { return std::make_unique<int>(x); }
double half(double x) { return x / 2; }
std::size_t length(std::string_view text) { return text.size(); }

}  // namespace

BOTH_POOLS("starmap unpacks each tuple into the function's arguments") {
  Pool pool(2);
  const std::vector<std::tuple<std::string, int>> calls{{"a", 3}, {"b", 0}, {"c", 1}};
  CHECK(pool.starmap(repeat, calls) == std::vector<std::string>{"aaa", "", "c"});
}

BOTH_POOLS("starmap unpacks pairs") {
  Pool pool(2);
  CHECK(pool.starmap(add, std::vector<std::pair<int, int>>{{1, 2}, {3, 4}}) ==
        std::vector<int>{3, 7});
}

BOTH_POOLS("starmap unpacks arrays") {
  Pool pool(2);
  CHECK(pool.starmap(sum3, std::vector<std::array<int, 3>>{{1, 2, 3}, {4, 5, 6}}) ==
        std::vector<int>{123, 456});
}

BOTH_POOLS("starmap of an empty range returns an empty vector") {
  Pool pool(2);
  CHECK(pool.starmap(add, std::vector<std::tuple<int, int>>{}).empty());
}

BOTH_POOLS("starmap takes every chunk size") {
  Pool pool(2);
  std::vector<std::tuple<int, int>> calls;
  for (int i = 0; i < 20; ++i) calls.emplace_back(i, i);
  const auto expected = pool.starmap(add, calls);
  REQUIRE(expected.size() == 20);
  for (std::size_t chunksize : {1U, 7U, 20U, 21U}) {
    CAPTURE(chunksize);
    CHECK(pool.starmap(add, calls, {.chunksize = chunksize}) == expected);
  }
}

BOTH_POOLS("starmap of a void function returns nothing, after every call") {
  oracle::Fresh fresh;
  Pool pool(2);
  const std::vector<std::tuple<int, int>> calls{{0, 1}, {2, 3}};
  pool.starmap(
      [](int x, int y) {
        oracle::count_execution(x);
        oracle::count_execution(y);
      },
      calls);
  CHECK(oracle::executed(4) == 4);
}

BOTH_POOLS("starmap moves out of an rvalue container of tuples") {
  Pool pool(2);
  std::vector<std::tuple<std::unique_ptr<int>, int>> calls;
  for (int i = 0; i < 5; ++i) calls.emplace_back(std::make_unique<int>(i), i);
  CHECK(pool.starmap(take_both, std::move(calls)) == std::vector<int>{0, 2, 4, 6, 8});
}

BOTH_POOLS("starmap leaves an lvalue container as it was") {
  Pool pool(2);
  std::vector<std::tuple<std::string, int>> calls{{"a string too long for the short buffer", 1}};
  const auto before = calls;
  pool.starmap([](std::string text, int) { return std::move(text).size(); }, calls);
  CHECK(calls == before);
}

BOTH_POOLS("starmap takes a zipping view") {
  Pool pool(2);
  auto view =
      std::views::iota(0, 4) | std::views::transform([](int x) { return std::tuple(x, x + 1); });
  CHECK(pool.starmap(add, view) == std::vector<int>{1, 3, 5, 7});
}

BOTH_POOLS("starmap_async gives a vector through the handle") {
  Pool pool(2);
  auto handle = pool.starmap_async(add, std::vector<std::tuple<int, int>>{{1, 2}, {3, 4}});
  static_assert(std::is_same_v<decltype(handle), libpool::AsyncResult<std::vector<int>>>);
  CHECK(handle.get() == std::vector<int>{3, 7});
}

BOTH_POOLS("apply calls the function once in a worker and returns its result") {
  oracle::Fresh fresh;
  Pool pool(2);
  CHECK(pool.apply(count_and_return, 5) == 5);
  CHECK(oracle::executions(5) == 1);
}

BOTH_POOLS("apply calls a function without arguments") {
  Pool pool(2);
  CHECK(pool.apply(answer) == 42);
}

BOTH_POOLS("apply passes several arguments in order") {
  Pool pool(2);
  CHECK(pool.apply(sum3, 1, 2, 3) == 123);
}

BOTH_POOLS("apply of a void function returns nothing, after the call") {
  oracle::Fresh fresh;
  Pool pool(2);
  static_assert(std::is_void_v<decltype(pool.apply(oracle::count_execution, 1))>);
  pool.apply(oracle::count_execution, 1);
  CHECK(oracle::executions(1) == 1);
}

BOTH_POOLS("apply converts arguments to the function's parameter types") {
  Pool pool(2);
  CHECK(pool.apply(half, 3) == 1.5);
  CHECK(pool.apply(repeat, "ab", 2) == "abab");
}

BOTH_POOLS("what a conversion makes is received as an rvalue, as in a call") {
  Pool pool(1);
  const auto take = [](std::string&& text, int times) {
    text += std::to_string(times);
    return std::move(text);
  };
  CHECK(pool.apply(take, "ab", 2) == "ab2");
  std::vector<std::pair<const char*, int>> pairs{{"x", 1}, {"y", 2}};
  CHECK(pool.starmap(take, pairs) == std::vector<std::string>{"x1", "y2"});
  const std::vector<const char*> texts{"p", "q"};
  CHECK(pool.map([](std::string&& text) { return text + '!'; }, texts) ==
        std::vector<std::string>{"p!", "q!"});
}

BOTH_POOLS("a string literal travels as a string where the parameter types are unknown") {
  Pool pool(2);
  const auto is_string = [](const auto& text) {
    return std::is_same_v<std::decay_t<decltype(text)>, std::string>;
  };
  const char* pointer = "pointer";
  CHECK(pool.apply(is_string, "literal"));
  CHECK(pool.apply(is_string, pointer));
  CHECK(pool.apply(is_string, std::string_view("view")));
}

BOTH_POOLS("apply passes lvalue arguments as constant references") {
  Pool pool(2);
  std::string text = "a string too long for the short buffer";
  CHECK(pool.apply([](const std::string& s) { return s.size(); }, text) == text.size());
  CHECK(pool.apply([](std::string s) { return s; }, text) == text);
  CHECK(text == "a string too long for the short buffer");
}

BOTH_POOLS("apply moves an rvalue argument that can only be moved") {
  Pool pool(2);
  CHECK(pool.apply(take_both, std::make_unique<int>(4), 1) == 5);
}

BOTH_POOLS("apply returns a result that can only be moved") {
  Pool pool(2);
  CHECK(*pool.apply(boxed, 6) == 6);
}

BOTH_POOLS("apply rethrows what the function threw") {
  Pool pool(2);
  CHECK_THROWS_AS(pool.apply(throw_if_odd, 1), std::out_of_range);
  CHECK(pool.apply(throw_if_odd, 2) == 2);
}

BOTH_POOLS("apply takes a string_view parameter from a string") {
  Pool pool(2);
  CHECK(pool.apply(length, std::string(1000, 'x')) == 1000);
}

BOTH_POOLS("apply runs different functions on one pool") {
  Pool pool(2);
  CHECK(pool.apply(square, 3) == 9);
  CHECK(pool.apply(repeat, "x", 3) == "xxx");
  CHECK(pool.apply(half, 1) == 0.5);
}

BOTH_POOLS("apply_async returns at once, while the task still runs") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async(wait_at_gate, 1);
  static_assert(std::is_same_v<decltype(handle), libpool::AsyncResult<int>>);
  CHECK_FALSE(handle.ready());
  oracle::Fresh::open_gate();
  CHECK(handle.get() == 1);
}

BOTH_POOLS("apply_async takes any number of arguments") {
  Pool pool(2);
  CHECK(pool.apply_async(answer).get() == 42);
  CHECK(pool.apply_async(add, 1, 2).get() == 3);
  CHECK(pool.apply_async(sum3, 1, 2, 3).get() == 123);
}

BOTH_POOLS("apply_async keeps its own copy of lvalue arguments") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto blocker = pool.apply_async(wait_at_gate, 0);
  std::string text = "before";
  auto handle = pool.apply_async(repeat, text, 1);
  text = "after";
  oracle::Fresh::open_gate();
  CHECK(handle.get() == "before");
}

BOTH_POOLS("apply_async moves arguments that can only be moved") {
  Pool pool(2);
  CHECK(pool.apply_async(take_both, std::make_unique<int>(1), 2).get() == 3);
}

BOTH_POOLS("apply_async with a tuple and options unpacks the tuple") {
  Pool pool(2);
  CHECK(pool.apply_async(add, std::tuple(1, 2), {.retries = 1}).get() == 3);
  CHECK(pool.apply_async(answer, std::tuple<>(), {.timeout = 1min}).get() == 42);
  CHECK(pool.apply_async(add, std::tuple(1, 2), libpool::ApplyOptions<int>{.retries = 1}).get() ==
        3);
}

BOTH_POOLS("apply_async without options passes a tuple as one argument") {
  Pool pool(2);
  const auto first = [](const std::tuple<int, int>& pair) { return std::get<0>(pair); };
  CHECK(pool.apply_async(first, std::tuple(1, 2)).get() == 1);
}

BOTH_POOLS("apply_async with options moves arguments that can only be moved") {
  Pool pool(2);
  CHECK(
      pool.apply_async(take_both, std::tuple(std::make_unique<int>(1), 2), {.retries = 0}).get() ==
      3);
}

BOTH_POOLS("a handle of a void function gives nothing") {
  oracle::Fresh fresh;
  Pool pool(2);
  auto handle = pool.apply_async(oracle::count_execution, 3);
  static_assert(std::is_same_v<decltype(handle), libpool::AsyncResult<void>>);
  handle.get();
  CHECK(oracle::executions(3) == 1);
}
