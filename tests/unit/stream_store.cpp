/// Facts about the streams of imap: order, windows, ends.
#include <libpool/detail/stream_store.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <string>
#include <thread>

#include <tests/support/fake_core.hpp>

using namespace libpool::detail;
using namespace libpool::testing;

namespace {

using Store = StreamStore<int>;
constexpr bool ordered = true;
constexpr bool unordered = false;

Batch::Terms terms() { return {.feeding = Feeding::by_helper}; }

/// What a consumer gets now: a value, or a word for anything else.
std::string take(const Attached<Store>& stream) {
  std::optional<Store::Item> item;
  std::exception_ptr error;
  bool room = false;
  const Taken taken = stream->take(item, error, room);
  if (room) stream.core->room_appeared(*stream.store);
  switch (taken) {
    case Taken::item:
      return *item ? std::to_string(**item) : "failed: " + text_of(item->exception());
    case Taken::failed:
    case Taken::error:
      return "error: " + text_of(error);
    case Taken::end:
      return "end";
    case Taken::nothing_yet:
      break;
  }
  return "nothing yet";
}

}  // namespace

TEST_CASE("an ordered stream waits for the item that comes next") {
  const Attached<Store> stream(terms(), Window{.chunk = 3, .items = 3}, ordered);
  stream.pull();
  stream->store(2, 20);
  stream->store(1, 10);
  CHECK(take(stream) == "nothing yet");
  CHECK(stream.core->notified == 0);
  stream->store(0, 0);
  CHECK(stream.core->notified == 1);
  CHECK(take(stream) == "0");
  CHECK(take(stream) == "10");
  CHECK(take(stream) == "20");
  CHECK(take(stream) == "nothing yet");
}

TEST_CASE("an unordered stream gives items as they come, failed ones too") {
  const Attached<Store> stream(terms(), Window{.chunk = 3, .items = 3}, unordered);
  stream.pull();
  stream->store(2, 20);
  stream->fail(0, error_of("zero"));
  CHECK(take(stream) == "20");
  CHECK(take(stream) == "failed: zero");
  CHECK(take(stream) == "nothing yet");
}

TEST_CASE("a stream ends when the input has ended and all items were taken, again and again") {
  const Attached<Store> stream(terms(), Window{.chunk = 1, .items = 3}, ordered);
  stream.pull();
  stream->store(0, 1);
  CHECK(take(stream) == "1");
  CHECK(take(stream) == "nothing yet");
  stream->end_input(nullptr);
  CHECK(take(stream) == "end");
  CHECK(take(stream) == "end");
}

TEST_CASE("the input's error comes once, after all items before it") {
  const Attached<Store> stream(terms(), Window{.chunk = 2, .items = 4}, ordered);
  stream.pull();
  stream->end_input(error_of("input"));
  stream->store(1, 1);
  CHECK(take(stream) == "nothing yet");
  stream->store(0, 0);
  CHECK(take(stream) == "0");
  CHECK(take(stream) == "1");
  CHECK(take(stream) == "error: input");
  CHECK(take(stream) == "end");
}

TEST_CASE("an abandoned stream gives what is there, then the reason for ever") {
  const Attached<Store> stream(terms(), Window{.chunk = 3, .items = 3}, ordered);
  stream.pull();
  stream->store(0, 0);
  stream->store(2, 2);
  CHECK(stream->abandon(error_of("terminated"), true));
  stream->store(1, 1);
  CHECK(take(stream) == "0");
  CHECK(take(stream) == "error: terminated");
  CHECK(take(stream) == "error: terminated");
}

TEST_CASE("a full window stops feeding until items are taken") {
  const Attached<Store> stream(terms(), Window{.chunk = 2, .items = 4}, ordered);
  CHECK(stream.pull() == 2);
  CHECK(stream.pull() == 2);
  CHECK(stream.pull() == 0);
  for (std::size_t i = 0; i < 4; ++i) stream->store(i, static_cast<int>(i));
  take(stream);
  CHECK(stream.core->rooms == 0);
  take(stream);
  CHECK(stream.core->rooms == 1);
  CHECK(stream.pull() == 2);
}

TEST_CASE("a large window asks for input when about a quarter of it is free") {
  const Attached<Store> stream(terms(), Window{.chunk = 1, .items = 100}, unordered);
  while (stream.pull() != 0) {
  }
  CHECK(stream->pulled() == 100);
  for (std::size_t i = 0; i < 100; ++i) stream->store(i, static_cast<int>(i));
  for (int i = 0; i < 24; ++i) take(stream);
  CHECK(stream.core->rooms == 0);
  for (int i = 0; i < 8; ++i) take(stream);
  CHECK(stream.core->rooms == 1);
  CHECK(stream.pull() == 1);
}

TEST_CASE("what a consumer of a large window has taken is known before feeding waits for it") {
  const Attached<Store> stream(terms(), Window{.chunk = 1, .items = 100}, ordered);
  for (int i = 0; i < 100; ++i) REQUIRE(stream.pull() == 1);
  for (std::size_t i = 0; i < 100; ++i) stream->store(i, static_cast<int>(i));
  for (int i = 0; i < 40; ++i) take(stream);
  CHECK(stream.core->rooms == 0);  // nobody waits
  std::size_t more = 0;
  while (stream.pull() != 0) ++more;
  CHECK(more == 32);
}

TEST_CASE("an item that fails is an outcome, or an error beside no result") {
  const Attached<Store> stream(terms(), Window{.chunk = 2, .items = 2}, ordered);
  stream.pull();
  stream->fail(0, error_of("zero"));
  stream->store(1, 10);
  std::optional<int> result;
  std::exception_ptr error;
  bool room = false;
  CHECK(stream->take(result, error, room) == Taken::failed);
  CHECK_FALSE(result.has_value());
  CHECK(text_of(error) == "zero");
  CHECK(stream->take(result, error, room) == Taken::item);
  CHECK(result == 10);
}

TEST_CASE("a window of buffersize never waits for more room than a chunk takes") {
  CHECK(Window{.chunk = 1, .items = 1}.resume_at() == 0);
  CHECK(Window{.chunk = 1, .items = 5}.resume_at() == 4);
  CHECK(Window{.chunk = 100, .items = 100}.resume_at() == 0);
}

TEST_CASE("takers tell of every item of a small window, and of large ones before feeding waits") {
  for (std::size_t items = 1; items < 100'000; items += 1 + items / 7) {
    for (const std::size_t chunk : {std::size_t{1}, (items + 1) / 2, items}) {
      const Window window{.chunk = chunk, .items = items};
      const std::size_t told = window.told_at_once();
      CHECK(std::has_single_bit(told));
      CHECK((told == 1 || told <= window.resume_at() / 4));
      if (items < 64) CHECK(told == 1);
    }
  }
  CHECK(Window{.chunk = 1, .items = 10'000}.told_at_once() == 256);
}

TEST_CASE("taken at once is a result that is known and needs nothing else to be done") {
  const Attached<Store> stream(terms(), Window{.chunk = 1, .items = 100}, ordered);
  for (int i = 0; i < 100; ++i) REQUIRE(stream.pull() == 1);
  for (std::size_t i = 0; i < 40; ++i) {
    i == 20 ? stream->fail(i, error_of("twenty")) : stream->store(i, static_cast<int>(i));
  }
  std::string others;
  for (int i = 0; i < 40; ++i) {
    if (const auto item = stream->take_at_once()) {
      CHECK(*item == i);
    } else {
      others += take(stream) + " ";
    }
  }
  // The first one of all; those that feeding may wait for; what failed.
  CHECK(others == "0 15 failed: twenty 31 ");
  CHECK_FALSE(stream->take_at_once());
  CHECK(take(stream) == "nothing yet");
}

TEST_CASE("when the pool is closed, nothing waits for the consumer any more") {
  const Attached<Store> stream(terms(), Window{.chunk = 1, .items = 1}, ordered);
  stream.pull();
  CHECK(stream.pull() == 0);
  stream->pool_closed();
  CHECK(stream.core->rooms == 1);
  CHECK(stream.pull() == 1);
  CHECK(stream.pull() == 1);
  CHECK_FALSE(stream->input_ended());
}

TEST_CASE("with buffersize, a closed pool ends the input where it is") {
  const Attached<Store> stream(terms(), Window{.chunk = 1, .items = 2, .only_this = true}, ordered);
  stream.pull();
  stream->pool_closed();
  CHECK(stream.core->rooms == 1);
  CHECK(stream.pull() == 0);
  CHECK(stream->input_ended());
  stream->store(0, 7);
  CHECK(stream->done());
  CHECK(take(stream) == "7");
  CHECK(take(stream) == "end");
}

TEST_CASE("an input never ends within a step, whose items are not counted yet") {
  const Attached<Store> stream(terms(), Window{.chunk = 1, .items = 8, .only_this = true}, ordered);
  CHECK(stream->next_chunk(0, 1) == 1);
  stream->pool_closed();
  CHECK(stream->next_chunk(1, 1) == 0);
  CHECK_FALSE(stream->input_ended());
  stream->pulled(1);
  CHECK(stream->next_chunk(1, 1) == 0);
  CHECK(stream->input_ended());
  CHECK_FALSE(stream->done());
  stream->store(0, 5);
  CHECK(stream->done());
}

TEST_CASE("a dropped stream discards results and runs the rest of the input") {
  const Attached<Store> stream(terms(), Window{.chunk = 1, .items = 1}, ordered);
  stream.pull();
  stream->drop();
  CHECK(stream.core->rooms == 0);  // nobody was waiting
  stream->store(0, 0);
  for (std::size_t i = 1; i < 10; ++i) {
    REQUIRE(stream.pull() == 1);
    stream->store(i, 0);
  }
  stream->end_input(nullptr);
  CHECK(stream->done());
}

TEST_CASE("with buffersize, a dropped stream pulls nothing more") {
  const Attached<Store> stream(terms(), Window{.chunk = 1, .items = 5, .only_this = true}, ordered);
  stream.pull();
  stream->drop();
  CHECK(stream.core->rooms == 1);
  CHECK(stream.pull() == 0);
  CHECK(stream->input_ended());
}

TEST_CASE("consumers share a stream: each item is given once, and each sees the end") {
  const Attached<Store> stream(terms(), Window{.chunk = 1, .items = 100000}, unordered);
  constexpr std::size_t items = 20000;
  std::atomic<std::size_t> given{0};
  std::atomic<int> ends{0};
  {
    std::vector<std::jthread> consumers;
    for (int i = 0; i < 4; ++i) {
      consumers.emplace_back([&] {
        std::optional<Store::Item> item;
        std::exception_ptr error;
        while (stream->wait(item, error, std::nullopt) == Taken::item) ++given;
        ++ends;
      });
    }
    for (std::size_t i = 0; i < items; ++i) {
      stream.pull();
      stream->store(i, 0);
    }
    stream->end_input(nullptr);
  }
  CHECK(given == items);
  CHECK(ends == 4);
}

TEST_CASE("a wait that times out loses nothing") {
  const Attached<Store> stream(terms(), Window{.chunk = 1, .items = 1}, ordered);
  stream.pull();
  std::optional<Store::Item> item;
  std::exception_ptr error;
  CHECK(stream->wait(item, error, Clock::now()) == Taken::nothing_yet);
  stream->store(0, 4);
  CHECK(stream->wait(item, error, Clock::now()) == Taken::item);
  CHECK(**item == 4);
}

TEST_CASE("a bundle is no larger than the window has room for") {
  Batch::Terms singly = terms();
  singly.singly = true;
  const Attached<Store> stream(singly, Window{.chunk = 1, .items = 10}, ordered);
  CHECK(stream->next_chunk(0, 8) == 8);
  CHECK(stream->next_chunk(8, 8) == 2);
  CHECK(stream->next_chunk(10, 8) == 0);
  const Attached<Store> other(terms(), Window{.chunk = 1, .items = 10}, ordered);
  CHECK(other->next_chunk(0, 8) == 1);
}

TEST_CASE("feeding that waits hears of room, whoever is faster") {
  for (const std::size_t window : {1U, 4U, 60U, 100U}) {
    const Attached<Store> stream(terms(), Window{.chunk = 1, .items = window}, ordered);
    constexpr std::size_t items = 100'000;
    std::jthread feeder([&] {
      for (std::size_t fed = 0; fed != items;) {
        const int rooms = stream.core->rooms;
        if (stream.pull() == 0) {
          while (stream.core->rooms == rooms) std::this_thread::yield();
        } else {
          stream->store(fed, static_cast<int>(fed));
          ++fed;
        }
      }
      stream->end_input(nullptr);
    });
    std::optional<Store::Item> item;
    std::exception_ptr error;
    std::size_t taken = 0;
    while (stream->wait(item, error, std::nullopt) == Taken::item) ++taken;
    CHECK(taken == items);
  }
}
