/// Contract: what may be called, and how its captures and bound values travel.
///
/// Runs in the test; the tasks run in workers of both pools.
#include "contract.hpp"

#include <dlfcn.h>

#include <functional>
#include <memory>
#include <span>
#include <string_view>

using namespace contract;

namespace {

int square_noexcept(int x) noexcept { return x * x; }
double with_reference(const double& x) { return x + 0.5; }

struct Stateless {
  int operator()(int x) const { return x + 1; }
};
struct Overloaded {
  int operator()(int x) const { return x; }
  int operator()(const std::string& text) const { return static_cast<int>(text.size()); }
};
class Serialized {
 public:
  Serialized() = default;
  explicit Serialized(std::vector<int> table) : table_(std::move(table)) {}
  int operator()(int i) const { return table_.at(static_cast<std::size_t>(i)); }
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & table_;
  }

 private:
  std::vector<int> table_;
};

/// Counts in the shared page how often it is encoded and decoded.
struct Weighed {
  int weight = 0;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    ++oracle::page.words[Archive::is_saving::value ? 0 : 1];
    archive & weight;
  }
};
int weigh(const Weighed& weighed, int x) { return weighed.weight * x; }
int subtract(int x, int y) { return x - y; }
int digits(int x, int y, int z) { return x * 100 + y * 10 + z; }
std::string join(const std::string& separator, const std::string& x, const std::string& y) {
  return x + separator + y;
}
double mean(std::span<const double> values) {
  double sum = 0;
  for (double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}
bool all_vowels(std::string_view text) {
  return text.find_first_not_of("aeiou") == std::string_view::npos;
}

struct Account {
  int money = 0;
  [[nodiscard]] int plus(int more) const { return money + more; }
};

}  // namespace

BOTH_POOLS("a function pointer is called") {
  Pool pool(1);
  CHECK(pool.map(square, numbers(5)) == squares(5));
  CHECK(pool.map(&square, numbers(5)) == squares(5));
}

BOTH_POOLS("a noexcept function is called") {
  Pool pool(1);
  CHECK(pool.map(square_noexcept, numbers(5)) == squares(5));
}

BOTH_POOLS("a function that takes constant references is called") {
  Pool pool(1);
  CHECK(pool.map(with_reference, std::vector<double>{1, 2}) == std::vector<double>{1.5, 2.5});
}

BOTH_POOLS("a lambda without captures is called") {
  Pool pool(1);
  CHECK(pool.map([](int x) { return x * x; }, numbers(5)) == squares(5));
}

BOTH_POOLS("a generic lambda is called") {
  Pool pool(1);
  CHECK(pool.map([](auto x) { return x * x; }, numbers(5)) == squares(5));
  CHECK(pool.map([](const auto& x) { return x * x; }, numbers(5)) == squares(5));
  CHECK(pool.map([](auto&& x) { return x * x; }, numbers(5)) == squares(5));
}

BOTH_POOLS("a stateless function object is called") {
  Pool pool(1);
  CHECK(pool.map(Stateless{}, numbers(3)) == std::vector<int>{1, 2, 3});
  CHECK(pool.map(std::negate<>{}, numbers(3)) == std::vector<int>{0, -1, -2});
}

BOTH_POOLS("an overloaded function object is called by the element's type") {
  Pool pool(1);
  CHECK(pool.map(Overloaded{}, numbers(3)) == numbers(3));
  CHECK(pool.map(Overloaded{}, std::vector<std::string>{"", "ab"}) == std::vector<int>{0, 2});
}

BOTH_POOLS("a lambda that captures trivially copyable values is called with them") {
  Pool pool(2);
  int factor = 3;
  const double offset = 0.5;
  const auto scaled = pool.map([factor, offset](int x) { return x * factor + offset; }, numbers(3));
  CHECK(scaled == std::vector<double>{0.5, 3.5, 6.5});
}

BOTH_POOLS("captured values are those of the call, not of the pool's birth") {
  Pool pool(1);
  for (int factor = 0; factor < 5; ++factor) {
    CHECK(pool.apply([factor](int x) { return factor * x; }, 2) == 2 * factor);
  }
}

BOTH_POOLS("a lambda that captures an array of numbers is called with it") {
  Pool pool(2);
  std::array<int, 100> table{};
  for (int i = 0; i < 100; ++i) table[static_cast<std::size_t>(i)] = i * i;
  const auto looked_up =
      pool.map([table](int i) { return table[static_cast<std::size_t>(i)]; }, numbers(100));
  CHECK(looked_up == squares(100));
}

BOTH_POOLS("a function object with a serialize is called with its members") {
  Pool pool(2);
  CHECK(pool.map(Serialized({5, 6, 7}), std::vector<int>{2, 0}) == std::vector<int>{7, 5});
}

BOTH_POOLS("two lambdas of one signature are not confused") {
  Pool pool(1);
  const auto one = [](int) { return 1; };
  const auto two = [](int) { return 2; };
  for (int i = 0; i < 5; ++i) {
    CHECK(pool.apply(one, 0) == 1);
    CHECK(pool.apply(two, 0) == 2);
  }
}

BOTH_POOLS("two function pointers of one type are not confused") {
  Pool pool(1);
  int (*functions[])(int) = {square, count_and_return};
  oracle::Fresh fresh;
  CHECK(pool.apply(functions[0], 3) == 9);
  CHECK(pool.apply(functions[1], 3) == 3);
}

BOTH_POOLS("partial binds the first arguments") {
  Pool pool(2);
  CHECK(pool.map(libpool::partial(subtract, 10), numbers(3)) == std::vector<int>{10, 9, 8});
  CHECK(pool.map(libpool::partial(digits, 1, 2), numbers(3)) == std::vector<int>{120, 121, 122});
}

BOTH_POOLS("partial works with every call") {
  Pool pool(2);
  const auto minus = libpool::partial(subtract, 10);
  CHECK(pool.apply(minus, 1) == 9);
  CHECK(pool.apply_async(minus, 1).get() == 9);
  CHECK(pool.map_async(minus, numbers(2)).get() == std::vector<int>{10, 9});
  CHECK(drain(pool.imap(minus, numbers(2))) == std::vector<int>{10, 9});
  CHECK(pool.starmap(libpool::partial(digits, 7), std::vector<std::pair<int, int>>{{1, 2}}) ==
        std::vector<int>{712});
  CHECK(pool.apply(libpool::partial(subtract, 5, 2)) == 3);
}

BOTH_POOLS("partial binds strings, and converts literals") {
  Pool pool(1);
  CHECK(pool.apply(libpool::partial(join, "-"), "a", "b") == "a-b");
  CHECK(pool.apply(libpool::partial(join, std::string(1000, '-')), "a", "b").size() == 1002);
}

BOTH_POOLS("partial binds a large table to a lambda") {
  Pool pool(2);
  const auto lookup = [](const std::vector<int>& table, int i) {
    return table[static_cast<std::size_t>(i)];
  };
  CHECK(pool.map(libpool::partial(lookup, squares(1000)), numbers(1000)) == squares(1000));
}

BOTH_POOLS("partial of a partial binds in order") {
  Pool pool(1);
  CHECK(pool.apply(libpool::partial(libpool::partial(digits, 1), 2), 3) == 123);
}

BOTH_POOLS("partial leaves an lvalue that it binds as it was") {
  Pool pool(1);
  std::string separator(100, '-');
  CHECK(pool.apply(libpool::partial(join, separator), "a", "b").size() == 102);
  CHECK(separator == std::string(100, '-'));
}

BOTH_POOLS("a partial can be called in the program itself") {
  CHECK(libpool::partial(subtract, 10)(4) == 6);
  Pool pool(1);
  CHECK(pool.apply(libpool::partial(subtract, 10), 4) == 6);
}

TEST_CASE("bound values are serialised at most once per chunk") {
  oracle::Fresh fresh;
  ProcessPool pool(2);
  CHECK(pool.map(libpool::partial(weigh, Weighed{3}), numbers(20), {.chunksize = 5}).at(19) == 57);
  CHECK(oracle::page.words[0] <= 4);
  CHECK(oracle::page.words[1] <= 4);
}

BOTH_POOLS("a span parameter takes the vectors of a range") {
  Pool pool(2);
  const std::vector<std::vector<double>> rows{{1, 2, 3}, {}, {5}};
  CHECK(pool.map(mean, rows) == std::vector<double>{2, 0, 5});
  CHECK(pool.apply(mean, rows[0]) == 2);
  CHECK(pool.apply(mean, std::vector<double>(100'000, 4.0)) == 4);
}

BOTH_POOLS("a string_view parameter takes the strings of a range") {
  Pool pool(2);
  CHECK(pool.map(all_vowels, std::vector<std::string>{"aei", "xyz", ""}) ==
        std::vector<bool>{true, false, true});
  CHECK(pool.apply(all_vowels, "ou"));
  CHECK(pool.apply(all_vowels, std::string_view("ou")));
}

BOTH_POOLS("elements are converted to the parameter type where it is known") {
  Pool pool(1);
  CHECK(pool.map(with_reference, numbers(3)) == std::vector<double>{0.5, 1.5, 2.5});
  const std::vector<const char*> literals{"ae", "x"};
  CHECK(pool.map(all_vowels, literals) == std::vector<bool>{true, false});
  CHECK(pool.map([](const std::string& text) { return text.size(); }, literals) ==
        std::vector<std::size_t>{2, 1});
}

BOTH_POOLS("a view of strings as elements travels as strings where the parameters are unknown") {
  Pool pool(1);
  const std::vector<std::string_view> views{"one", "three"};
  CHECK(pool.map([](const auto& text) { return text.size(); }, views) ==
        std::vector<std::size_t>{3, 5});
}

TEST_CASE("a ThreadPool calls any callable") {
  ThreadPool pool(2);
  int sum = 0;
  CHECK(pool.apply([&sum](int x) { return sum += x; }, 5) == 5);
  CHECK(sum == 5);
  const std::function<int(int)> function = square;
  CHECK(pool.map(function, numbers(5)) == squares(5));
  const std::string prefix = "a captured string that is long enough for the heap";
  CHECK(pool.apply([prefix](int x) { return prefix.size() + static_cast<std::size_t>(x); }, 1) ==
        prefix.size() + 1);
  CHECK(pool.apply(&Account::plus, Account{3}, 4) == 7);
}

TEST_CASE("a ThreadPool calls a function object that can only be moved") {
  ThreadPool pool(2);
  CHECK(pool.apply([box = std::make_unique<int>(5)](int x) { return *box + x; }, 2) == 7);
  CHECK(pool.apply_async([box = std::make_unique<int>(5)] { return *box; }).get() == 5);
}

TEST_CASE(
    "a function of a library that was loaded after the pool was made is refused in the caller") {
  ProcessPool pool(1);
  void* library = ::dlopen("libz.so.1", RTLD_NOW | RTLD_LOCAL);
  REQUIRE(library != nullptr);
  using Bound = unsigned long (*)(unsigned long);
  const auto bound = reinterpret_cast<Bound>(::dlsym(library, "compressBound"));
  REQUIRE(static_cast<bool>(bound));
  CHECK_THROWS_AS(pool.apply(bound, 1000UL), libpool::PoolError);
  CHECK_THROWS_AS(pool.map(bound, std::vector<unsigned long>{1, 2}), libpool::PoolError);
  CHECK(pool.apply(square, 2) == 4);
  CHECK(pool.stats().workers_lost == 0);
  ProcessPool later(1);
  CHECK(later.apply(bound, 1000UL) == bound(1000));
  ::dlclose(library);
}
