/// Facts about `partial`.
#include <libpool/partial.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

using libpool::partial;

namespace {
int subtract(int a, int b) { return a - b; }
}  // namespace

TEST_CASE("bound values come first in the call") {
  CHECK(partial(&subtract, 10)(3) == 7);
  CHECK(partial(&subtract, 10, 4)() == 6);
  CHECK(partial(&subtract)(1, 2) == -1);
  CHECK(partial(partial(&subtract, 10), 4)() == 6);
}

TEST_CASE("bound values are copied or moved, never referred to") {
  std::string text = "a";
  const auto bound =
      partial([](const std::string& a, const std::string& b) { return a + b; }, text);
  text = "changed";
  CHECK(bound("b") == "ab");
  auto owner = std::make_unique<int>(5);
  const auto moved =
      partial([](const std::unique_ptr<int>& a, int b) { return *a + b; }, std::move(owner));
  CHECK(moved(2) == 7);
}

TEST_CASE("bound values are converted to the parameters where these are known") {
  const auto known =
      partial([](double a, std::string_view b) { return a + double(b.size()); }, 1, "four");
  static_assert(std::is_same_v<decltype(known.bound), std::tuple<double, std::string>>);
  CHECK(known() == 5);
  const auto unknown =
      partial([](const auto& a, int b) { return a.size() + std::size_t(b); }, "four");
  static_assert(std::is_same_v<decltype(unknown.bound), std::tuple<std::string>>);
  CHECK(unknown(1) == 5);
}

TEST_CASE("arguments are forwarded as they are") {
  const auto f = partial([](int, std::unique_ptr<int> p) { return *p; }, 0);
  CHECK(f(std::make_unique<int>(8)) == 8);
  static_assert(!std::is_invocable_v<decltype(f), int>);
}

TEST_CASE("a mutable function keeps its state, and sees constants") {
  auto counter = partial([n = 0](const int& step) mutable { return n += step; }, 2);
  static_assert(!std::is_invocable_v<const decltype(counter)&>);
  CHECK(counter() == 2);
  CHECK(counter() == 4);
  const auto changing = [](int&) {};
  static_assert(!std::is_invocable_v<decltype(partial(changing, 1))>);
}
