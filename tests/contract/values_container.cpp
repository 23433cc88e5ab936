/// Contract: the standard containers travel.
///
/// Runs in the test; the tasks run in workers of both pools.
#include "values.hpp"

#include <array>
#include <deque>
#include <forward_list>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <unordered_set>

using namespace contract;

BOTH_POOLS("vectors travel") {
  Pool pool(1);
  check_travels(pool, numbers(1000));
  check_travels(pool, std::vector<int>{});
  check_travels(pool, std::vector<std::string>{"a", "", std::string(1000, 'x')});
  check_travels(pool, std::vector<std::vector<double>>{{1, 2}, {}, {3}});
  check_travels(pool, std::vector<bool>{true, false, true});
}

BOTH_POOLS("deques and lists travel") {
  Pool pool(1);
  check_travels(pool, std::deque<int>{1, 2, 3});
  check_travels(pool, std::list<std::string>{"a", "b"});
  check_travels(pool, std::forward_list<int>{1, 2, 3});
  check_travels(pool, std::forward_list<int>{});
}

BOTH_POOLS("arrays travel") {
  Pool pool(1);
  check_travels(pool, std::array<int, 3>{1, 2, 3});
  check_travels(pool, std::array<std::string, 2>{"a", "b"});
  check_travels(pool, std::array<int, 0>{});
}

BOTH_POOLS("sets travel") {
  Pool pool(1);
  check_travels(pool, std::set<int>{3, 1, 2});
  check_travels(pool, std::set<std::string, std::greater<>>{"a", "b"});
  check_travels(pool, std::multiset<int>{1, 1, 2});
}

BOTH_POOLS("maps travel") {
  Pool pool(1);
  check_travels(pool, std::map<int, std::string>{{1, "one"}, {2, "two"}});
  check_travels(pool, std::map<std::string, std::vector<int>>{{"a", {1, 2}}, {"", {}}});
  check_travels(pool, std::multimap<int, int>{{1, 2}, {1, 3}});
}

BOTH_POOLS("unordered sets travel") {
  Pool pool(1);
  check_travels(pool, std::unordered_set<int>{3, 1, 2});
  check_travels(pool, std::unordered_multiset<std::string>{"a", "a", "b"});
}

BOTH_POOLS("unordered maps travel") {
  Pool pool(1);
  check_travels(pool, std::unordered_map<std::string, int>{{"a", 1}, {"b", 2}});
  check_travels(pool, std::unordered_multimap<int, int>{{1, 2}, {1, 2}, {3, 4}});
}

BOTH_POOLS("containers of containers travel") {
  Pool pool(1);
  using Deep =
      std::map<std::string, std::vector<std::pair<std::optional<int>, std::set<std::string>>>>;
  check_travels(pool, Deep{{"x", {{1, {"a"}}, {std::nullopt, {}}}}, {"y", {}}});
}

BOTH_POOLS("a container of things that can only be moved travels") {
  Pool pool(1);
  std::vector<std::unique_ptr<int>> boxes;
  boxes.push_back(std::make_unique<int>(1));
  boxes.push_back(nullptr);
  const auto back =
      pool.apply([](std::vector<std::unique_ptr<int>> v) { return v; }, std::move(boxes));
  REQUIRE(back.size() == 2);
  CHECK(*back[0] == 1);
  CHECK(back[1] == nullptr);
}

BOTH_POOLS("a map of things that can only be moved travels") {
  Pool pool(1);
  const auto made = pool.apply(
      [](int x) {
        std::map<int, std::unique_ptr<int>> result;
        result.emplace(x, std::make_unique<int>(x + 1));
        return result;
      },
      3);
  REQUIRE(made.size() == 1);
  CHECK(*made.at(3) == 4);
}
