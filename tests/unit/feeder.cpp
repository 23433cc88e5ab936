/// Facts about the feeder: one step for each way in which input, encoders and memory can end it.
#include <libpool/submit/feeder.hpp>

#include <doctest/doctest.h>

#include <tests/support/core_parts.hpp>
#include <tests/support/replaced.hpp>

using namespace libpool;
using submit::Fed;
using submit::feed;
using testing::Script;
using testing::TestJob;
using testing::TestMemory;
using testing::text_of;

namespace {

/// The items of a payload as the format says: the call, aligned to 16, then length, bytes, padding.
std::vector<std::string> items_of(const submit::Chunk& chunk) {
  codec::PayloadReader reader({chunk.payload->bytes() + chunk.items_offset, chunk.items_size});
  std::vector<std::string> items;
  for (std::uint32_t item = chunk.next; item < chunk.end; ++item) {
    std::uint64_t size = 0;
    reader.read(&size, sizeof size);
    const auto bytes = reader.take(size);
    items.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    reader.align(8);
  }
  CHECK(reader.remaining() == 0);
  return items;
}

/// One chunk of at most so many items.
Fed feed_chunk(const TestJob& test, std::size_t items, submit::PayloadMemory& memory) {
  test.batch->chunk_items = items;
  return feed(test.job, 1, memory);
}

using Strings = std::vector<std::string>;

}  // namespace

TEST_CASE("a step pulls as many items as it may and leaves the rest") {
  TestMemory plain;
  TestJob test({.items = {"a", "bb", "", "dddddddddd", "e"}});
  test.batch->pulled(100);
  Fed fed = feed_chunk(test, 3, plain.memory);
  REQUIRE(fed.chunks.size() == 1);
  CHECK(fed.chunks.front()->job == test.job);
  CHECK(fed.chunks.front()->first_index == 100);
  CHECK(fed.chunks.front()->index_of(2) == 102);
  CHECK(fed.chunks.front()->next == 0);
  CHECK(fed.chunks.front()->end == 3);
  CHECK(fed.chunks.front()->call_size == 48);  // a token of 32 bytes, "call", padded
  CHECK(items_of(*fed.chunks.front()) == Strings{"a", "bb", ""});
  CHECK(fed.first_index == 100);
  CHECK(fed.pulled == 3);
  CHECK(fed.failed == 0);
  CHECK_FALSE(fed.ended);
  fed = feed_chunk(test, 2, plain.memory);
  CHECK(items_of(*fed.chunks.front()) == Strings{"dddddddddd", "e"});
  CHECK_FALSE(fed.ended);
  fed = feed_chunk(test, 2, plain.memory);
  CHECK(fed.chunks.empty());
  CHECK(fed.pulled == 0);
  CHECK(fed.ended);
  CHECK(fed.input_error == nullptr);
}

TEST_CASE("an input that ends within a step gives what it had, and its end") {
  TestMemory plain;
  TestJob test({.items = {"a", "b"}});
  Fed fed = feed_chunk(test, 5, plain.memory);
  REQUIRE(fed.chunks.size() == 1);
  CHECK(items_of(*fed.chunks.front()) == Strings{"a", "b"});
  CHECK(fed.pulled == 2);
  CHECK(fed.ended);
  CHECK(fed.input_error == nullptr);
}

TEST_CASE("an input that throws gives what it had before, and what it threw") {
  TestMemory plain;
  TestJob test({.items = {"a", "b"}, .input_throws = true});
  Fed fed = feed_chunk(test, 5, plain.memory);
  REQUIRE(fed.chunks.size() == 1);
  CHECK(fed.chunks.front()->end == 2);
  CHECK(fed.pulled == 2);
  CHECK(fed.failed == 0);
  CHECK(fed.ended);
  CHECK(text_of(fed.input_error) == "input");
  fed = feed_chunk(test, 5, plain.memory);
  CHECK(fed.chunks.empty());
  CHECK(fed.pulled == 0);
}

TEST_CASE("an item that cannot be encoded is the last of its step and the only one that fails") {
  TestMemory plain;
  TestJob test({.items = {"a", "b", "c"}, .bad_item = 1});
  Fed fed = feed_chunk(test, 5, plain.memory);
  REQUIRE(fed.chunks.size() == 1);
  CHECK(items_of(*fed.chunks.front()) == Strings{"a"});
  CHECK(fed.pulled == 2);
  CHECK(fed.failed == 1);
  CHECK(text_of(fed.error) == "item");
  CHECK_FALSE(fed.ended);
  fed = feed_chunk(test, 5, plain.memory);
  CHECK(items_of(*fed.chunks.front()) == Strings{"c"});
  CHECK(fed.ended);
}

TEST_CASE("a step whose only item cannot be encoded makes no chunk") {
  TestMemory plain;
  TestJob test({.items = {"a"}, .bad_item = 0});
  Fed fed = feed_chunk(test, 5, plain.memory);
  CHECK(fed.chunks.empty());
  CHECK(fed.pulled == 1);
  CHECK(fed.failed == 1);
  CHECK(plain.memory.in_flight() == 0);
}

TEST_CASE("a callable that cannot be encoded fails all items of the step") {
  TestMemory plain;
  TestJob test({.items = {"a", "b", "c"}, .call_fails = true});
  Fed fed = feed_chunk(test, 2, plain.memory);
  CHECK(fed.chunks.empty());
  CHECK(fed.pulled == 2);
  CHECK(fed.failed == 2);
  CHECK(text_of(fed.error) == "call");
  CHECK_FALSE(fed.ended);
  CHECK(plain.memory.in_flight() == 0);
}

TEST_CASE("a callable and an item that cannot be encoded fail all items, that one included") {
  TestMemory plain;
  TestJob test({.items = {"a", "b", "c"}, .call_fails = true, .bad_item = 1});
  Fed fed = feed_chunk(test, 5, plain.memory);
  CHECK(fed.pulled == 2);
  CHECK(fed.failed == 2);
  CHECK(text_of(fed.error) == "call");
}

TEST_CASE("without memory for an item the input ends with that error") {
  TestMemory plain;
  TestJob test({.items = {"a", "b", "c"}, .no_memory = 1});
  Fed fed = feed_chunk(test, 5, plain.memory);
  CHECK(fed.chunks.empty());
  CHECK(fed.pulled == fed.failed);
  CHECK(fed.ended);
  CHECK(text_of(fed.input_error) == std::bad_alloc().what());
  CHECK(plain.memory.in_flight() == 0);
}

TEST_CASE("without memory for a large payload the input ends with the system's error") {
  TestMemory plain;
  TestJob test({.items = {std::string(50'000, 'x')}});
  const testing::Replaced full(
      detail::system_calls.fallocate, +[](int, int, off_t, off_t) { return errno = ENOSPC, -1; });
  Fed fed = feed_chunk(test, 1, plain.memory);
  CHECK(fed.chunks.empty());
  CHECK(fed.ended);
  CHECK(fed.input_error != nullptr);
  CHECK_THROWS_AS(std::rethrow_exception(fed.input_error), std::system_error);
}

TEST_CASE("a chunk has no more items than the progress word can count") {
  TestMemory plain;
  TestJob test({.items = Strings(std::size_t{ring::max_chunk_items} + 2)});
  Fed fed = feed_chunk(test, SIZE_MAX, plain.memory);
  CHECK(fed.pulled == ring::max_chunk_items);
  CHECK(fed.chunks.front()->end == ring::max_chunk_items);
  CHECK_FALSE(fed.ended);
  fed = feed_chunk(test, SIZE_MAX, plain.memory);
  CHECK(fed.pulled == 2);
  CHECK(fed.ended);
}

TEST_CASE("a small chunk after a large one takes little memory") {
  TestMemory plain;
  TestJob test({.items = {std::string(200'000, 'x'), "small"}});
  CHECK(feed_chunk(test, 1, plain.memory).chunks.front()->payload->has_own_memory());
  Fed fed = feed_chunk(test, 1, plain.memory);
  CHECK(fed.chunks.front()->payload->in_arena());
  CHECK(fed.chunks.front()->payload->capacity() == 128);
}

TEST_CASE("chunks that are fed together share a payload and one callable") {
  TestMemory plain;
  TestJob test({.items = {"a", "bb", "ccc", "d", "e"}});
  test.batch->chunk_items = 2;
  Fed fed = feed(test.job, 2, plain.memory);
  REQUIRE(fed.chunks.size() == 2);
  {
    const submit::Chunk::Owner first = fed.chunks.pop_front();
    const submit::Chunk::Owner second = fed.chunks.pop_front();
    CHECK(first->payload == second->payload);
    CHECK(first->call_size == second->call_size);
    CHECK(items_of(*first) == Strings{"a", "bb"});
    CHECK(items_of(*second) == Strings{"ccc", "d"});
    CHECK(second->items_offset % 16 == 0);
    CHECK(first->first_index == 0);
    CHECK(second->first_index == 2);
  }
  CHECK(test.batch->pulled() == 4);
  fed = feed(test.job, 2, plain.memory);
  CHECK(fed.chunks.size() == 1);
  CHECK(fed.ended);
  CHECK(plain.memory.in_flight() != 0);
  fed.chunks.clear();
  CHECK(plain.memory.in_flight() == 0);
}

TEST_CASE("an item that fails ends the step, and the chunks before it stay") {
  TestMemory plain;
  TestJob test({.items = {"a", "b", "c", "d"}, .bad_item = 2});
  Fed fed = feed(test.job, 4, plain.memory);
  CHECK(fed.chunks.size() == 2);
  CHECK(fed.pulled == 3);
  CHECK(fed.failed == 1);
  fed = feed(test.job, 4, plain.memory);
  REQUIRE(fed.chunks.size() == 1);
  CHECK(fed.chunks.front()->first_index == 3);
}

TEST_CASE("a payload that has grown takes no more chunks") {
  TestMemory plain(std::size_t{1} << 20);
  TestJob test({.items = {"a", std::string(20'000, 'x'), "b"}});
  CHECK(feed(test.job, 4, plain.memory).chunks.size() == 2);
}

TEST_CASE("a chunk that is cut by its bytes leaves the arena room for more; others are as asked") {
  TestMemory plain(std::size_t{1} << 20);
  const Script script{.items = Strings(10, std::string(40'000, 'x'))};
  TestJob cut(script, {.chunk_bytes = std::size_t{1} << 20});
  Fed fed = feed_chunk(cut, 10, plain.memory);
  CHECK(fed.pulled == 2);
  CHECK(fed.chunks.front()->payload->in_arena());
  TestJob small(script, {.chunk_bytes = 1});
  CHECK(feed_chunk(small, 10, plain.memory).pulled == 1);
  TestJob as_asked(script);
  CHECK(feed_chunk(as_asked, 10, plain.memory).pulled == 10);
}
