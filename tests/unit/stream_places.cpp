/// Facts about the places of a stream's outcomes.
#include <libpool/detail/stream_places.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <tests/support/fake_core.hpp>

using libpool::detail::StreamPlaces;
using namespace libpool::testing;

namespace {

constexpr bool ordered = true;
constexpr bool unordered = false;

/// The next one as text, with its index; empty if there is none.
template <class R>
std::string take(StreamPlaces<R>& places) {
  if (!places.any()) return {};
  if (places.at_segment_end()) places.next_segment();
  std::string text;
  places.take(
      [&](std::size_t index, R&& value) {
        if constexpr (std::is_same_v<R, std::string>) {
          text = std::to_string(index) + "=" + std::move(value);
        } else {
          text = std::to_string(index) + "=" + std::to_string(value);
        }
      },
      [&](std::size_t index, std::exception_ptr&& error) {
        text = std::to_string(index) + "!" + text_of(error);
      });
  return text;
}

template <class T>
const std::byte* bits_of(const std::vector<T>& values) {
  return reinterpret_cast<const std::byte*>(values.data());
}

/// Throws when it is moved out of its place.
struct Stubborn {
  explicit Stubborn(int given) : value(given) {}
  Stubborn(Stubborn&& other) : value(other.value) {
    if (other.value == 13) throw std::runtime_error("thirteen");
  }
  int value;
};

}  // namespace

TEST_CASE("ordered places are taken by index, however they are filled") {
  StreamPlaces<std::string> places(ordered, 8);
  places.make_room(3);
  places.put(2, "two");
  CHECK_FALSE(places.news());
  CHECK(take(places).empty());
  places.put_error(0, error_of("zero"));
  CHECK(places.news());
  CHECK_FALSE(places.news());
  CHECK(take(places) == "0!zero");
  CHECK(take(places).empty());
  places.put(1, "one");
  CHECK(take(places) == "1=one");
  CHECK(take(places) == "2=two");
  CHECK(places.taken() == 3);
}

TEST_CASE("unordered places are taken as they were filled, with their indices") {
  StreamPlaces<int> places(unordered, 8);
  places.make_room(5);
  places.put(4, 40);
  const std::vector<int> bits{10, 20};
  places.put_bits(1, 2, bits_of(bits));
  places.put_error(3, error_of("three"));
  for (const char* expected : {"4=40", "1=10", "2=20", "3!three", ""}) {
    CHECK(take(places) == expected);
  }
}

TEST_CASE("values as bits go through segments of any size, in pieces of any size") {
  for (const bool in_order : {ordered, unordered}) {
    for (const std::size_t window : {1U, 100U, 5000U, 1'000'000U}) {
      StreamPlaces<std::int64_t> places(in_order, window);
      std::size_t filled = 0;
      std::size_t taken = 0;
      for (std::size_t piece = 1; filled < 20'000; piece = piece * 3 % 1009 + 1) {
        std::vector<std::int64_t> bits(piece);
        for (std::size_t i = 0; i != piece; ++i) bits[i] = static_cast<std::int64_t>(filled + i);
        places.make_room(filled + piece);
        places.put_bits(filled, piece, bits_of(bits));
        filled += piece;
        while (places.any()) {
          REQUIRE(take(places) == std::to_string(taken) + "=" + std::to_string(taken));
          ++taken;
        }
      }
      CHECK(taken == filled);
    }
  }
}

TEST_CASE("a small value takes no more than its bits from what it was given") {
  StreamPlaces<char> places(ordered, 4);
  places.make_room(4);
  const std::vector<char> bits{'a', 'b', 'c', 'd'};
  places.put_bits(1, 3, bits_of(bits) + 1);
  places.put_bits(0, 1, bits_of(bits));
  for (std::size_t i = 0; i != 4; ++i) {
    CHECK(take(places) == std::to_string(i) + "=" + std::to_string(bits[i]));
  }
}

TEST_CASE("what moving a value in throws is the item's error") {
  StreamPlaces<Stubborn> places(ordered, 4);
  places.make_room(2);
  Stubborn thirteen(13);
  places.put(0, std::move(thirteen));
  REQUIRE(places.any());
  places.next_segment();
  std::string error;
  places.take([](std::size_t, Stubborn&&) {},
              [&](std::size_t, std::exception_ptr&& failed) { error = text_of(failed); });
  CHECK(error == "thirteen");
}

TEST_CASE("what a taker throws leaves the item to be taken") {
  StreamPlaces<int> places(ordered, 4);
  places.make_room(1);
  places.put(0, 7);
  places.next_segment();
  const auto fail = [](std::size_t, std::exception_ptr&&) {};
  CHECK_THROWS_AS(places.take([](std::size_t, int&&) { throw std::runtime_error("no"); }, fail),
                  std::runtime_error);
  CHECK(take(places) == "0=7");
}

TEST_CASE("values and errors that nobody takes are destroyed, each once") {
  const auto value = std::make_shared<int>(1);
  {
    StreamPlaces<std::shared_ptr<int>> places(ordered, 4);
    places.make_room(40);
    for (std::size_t i = 0; i != 40; ++i) places.put(i, std::shared_ptr<int>(value));
    REQUIRE(places.any());
    places.next_segment();
    places.take([](std::size_t, std::shared_ptr<int>&&) {},
                [](std::size_t, std::exception_ptr&&) {});
    CHECK(value.use_count() == 40);
    const auto discarded = places.take_all();
    CHECK(value.use_count() == 40);
  }
  CHECK(value.use_count() == 1);
}

TEST_CASE("one thread fills while another takes") {
  StreamPlaces<std::string> places(ordered, 64);
  std::mutex mutex;
  constexpr std::size_t items = 50'000;
  std::jthread filler([&] {
    for (std::size_t i = 0; i != items; ++i) {
      const std::lock_guard lock(mutex);
      places.make_room(i + 1);
      places.put(i, std::to_string(i));
    }
  });
  for (std::size_t taken = 0; taken != items;) {
    if (!places.any()) continue;
    if (places.at_segment_end()) {
      const std::lock_guard lock(mutex);
      places.next_segment();
    }
    places.take(
        [&](std::size_t index, std::string&& text) { REQUIRE(text == std::to_string(index)); },
        [](std::size_t, std::exception_ptr&&) {});
    ++taken;
  }
}
