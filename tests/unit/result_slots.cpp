/// Facts about the places of results.
#include <libpool/detail/result_slots.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <thread>

using libpool::detail::ResultSlots;

namespace {

struct NotDefault {
  explicit NotDefault(std::size_t given) : value(given) {}
  std::size_t value;
};

template <class R, class Make>
std::vector<R> fill(std::size_t expected, std::size_t count, Make make) {
  ResultSlots<R> slots(expected);
  slots.make_room(count);
  for (std::size_t index = count; index-- > 0;) slots.put(index, make(index));
  return slots.take(count);
}

}  // namespace

TEST_CASE("results come in the order of their indices, for every guess of their number") {
  for (const std::size_t expected : {0U, 1U, 7U, 5000U, 6000U}) {
    const auto numbers =
        fill<int>(expected, 5000, [](std::size_t i) { return static_cast<int>(i); });
    REQUIRE(numbers.size() == 5000);
    for (std::size_t i = 0; i < 5000; ++i) REQUIRE(numbers[i] == static_cast<int>(i));
    const auto texts =
        fill<std::string>(expected, 5000, [](std::size_t i) { return std::to_string(i); });
    REQUIRE(texts.size() == 5000);
    for (std::size_t i = 0; i < 5000; ++i) REQUIRE(texts[i] == std::to_string(i));
  }
}

TEST_CASE("results may be move-only, without a default, or bool") {
  CHECK(*fill<std::unique_ptr<int>>(1, 3, [](std::size_t i) {
    return std::make_unique<int>(static_cast<int>(i));
  })[2] == 2);
  CHECK(fill<NotDefault>(0, 2000, [](std::size_t i) { return NotDefault(i); })[1999].value == 1999);
  CHECK(fill<bool>(9, 9, [](std::size_t i) { return i % 2 == 0; })[8]);
}

TEST_CASE("places that were never filled die in silence") {
  ResultSlots<std::string> slots(3);
  slots.make_room(10);
  slots.put(5, std::string("text"));
}

TEST_CASE("neighbouring places can be written by different threads") {
  ResultSlots<bool> slots(0);
  slots.make_room(4000);
  {
    std::jthread even([&] {
      for (std::size_t i = 0; i < 4000; i += 2) slots.put(i, true);
    });
    for (std::size_t i = 1; i < 4000; i += 2) slots.put(i, false);
  }
  const auto flags = slots.take(4000);
  for (std::size_t i = 0; i < 4000; ++i) REQUIRE(flags[i] == (i % 2 == 0));
}
