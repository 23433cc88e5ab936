/// Facts about payload memory and its writer: where payloads lie, how they grow, and that all of it
/// is given back.
#include <libpool/submit/payload_memory.hpp>

#include <doctest/doctest.h>
#include <unistd.h>

#include <random>
#include <system_error>

#include <tests/support/core_parts.hpp>
#include <tests/support/replaced.hpp>

using namespace libpool;
using submit::TaskPayload;
using submit::TaskWriter;
using testing::pattern;
using testing::TestMemory;

namespace {

constexpr std::size_t arena_bytes = std::size_t{1} << 16;
constexpr std::size_t largest_block = arena_bytes / 4;

void check_bytes(const TaskPayload& payload, const std::vector<std::byte>& expected) {
  REQUIRE(payload.size == expected.size());
  CHECK(std::equal(expected.begin(), expected.end(), payload.bytes()));
}

/// Takes all of the arena, so that what follows has to wait on the heap.
std::vector<TaskPayload> fill(submit::PayloadMemory& memory) {
  std::vector<TaskPayload> payloads;
  for (std::size_t at = 0; at < arena_bytes; at += largest_block) {
    payloads.push_back(memory.allocate(largest_block));
  }
  return payloads;
}

}  // namespace

TEST_CASE("a payload lies in the arena up to a quarter of it, beyond that in memory of its own") {
  TestMemory plain;
  const TaskPayload small = plain.memory.allocate(1);
  CHECK(small.in_arena());
  CHECK(small.bytes() == plain.base() + small.arena_offset());
  const TaskPayload large = plain.memory.allocate(largest_block);
  CHECK(large.in_arena());
  const TaskPayload larger = plain.memory.allocate(largest_block + 1);
  CHECK_FALSE(larger.in_arena());
  CHECK(larger.has_own_memory());
  CHECK(larger.capacity() >= largest_block + 1);
}

TEST_CASE("all bytes of payloads alive are counted, and none once they are gone") {
  TestMemory plain;
  CHECK(plain.memory.in_flight() == 0);
  {
    TaskPayload first = plain.memory.allocate(1000);
    CHECK(plain.memory.in_flight() == 1024);
    const TaskPayload own = plain.memory.allocate(100'000);
    CHECK(plain.memory.in_flight() == 1024 + own.capacity());
    const TaskPayload moved = std::move(first);
    CHECK(plain.memory.in_flight() == 1024 + own.capacity());
    CHECK(moved.bytes() != nullptr);
  }
  CHECK(plain.memory.in_flight() == 0);
}

TEST_CASE("a payload waits on the heap while the arena is full, and comes in when there is room") {
  TestMemory plain;
  auto others = fill(plain.memory);
  const auto bytes = pattern(5000, 1);
  TaskWriter writer(plain.memory, 128);
  writer.write(bytes.data(), bytes.size());
  TaskPayload payload = writer.finish();
  CHECK_FALSE(payload.in_arena());
  CHECK_FALSE(payload.has_own_memory());
  check_bytes(payload, bytes);
  CHECK_FALSE(plain.memory.bring_in(payload));
  check_bytes(payload, bytes);
  others.pop_back();
  CHECK(plain.memory.bring_in(payload));
  CHECK(payload.in_arena());
  check_bytes(payload, bytes);
  CHECK(plain.memory.bring_in(payload));
  others.clear();
  CHECK(plain.memory.in_flight() == payload.capacity());
  payload = TaskPayload();
  CHECK(plain.memory.in_flight() == 0);
}

TEST_CASE("room in the arena goes to those that wait for it before it goes to new payloads") {
  TestMemory plain;
  auto others = fill(plain.memory);
  const auto wait = [&] {
    TaskWriter writer(plain.memory, 128);
    return writer.finish();
  };
  TaskPayload first = wait();
  TaskPayload second = wait();
  CHECK_FALSE(plain.memory.bring_in(first));
  CHECK_FALSE(plain.memory.bring_in(second));
  others.clear();
  CHECK_FALSE(plain.memory.has_room(1));
  CHECK_FALSE(plain.memory.allocate(1).in_arena());
  CHECK(plain.memory.bring_in(first));
  CHECK_FALSE(plain.memory.has_room(1));
  CHECK_FALSE(plain.memory.allocate(1).in_arena());
  second.release();
  CHECK(plain.memory.has_room(1));
  CHECK(plain.memory.allocate(1).in_arena());
}

TEST_CASE("a payload on the heap can get memory of its own, and waits no longer") {
  TestMemory plain;
  auto others = fill(plain.memory);
  for (const std::size_t size : {std::size_t{0}, std::size_t{5000}}) {
    const auto bytes = pattern(size, 7);
    TaskWriter writer(plain.memory, 128);
    writer.write(bytes.data(), bytes.size());
    TaskPayload payload = writer.finish();
    payload.chunks = 3;
    CHECK_FALSE(plain.memory.bring_in(payload));
    CHECK(plain.memory.move_out(payload));
    CHECK(payload.has_own_memory());
    CHECK(payload.chunks == 3);
    check_bytes(payload, bytes);
    CHECK(::lseek(payload.own_fd(), 0, SEEK_END) == static_cast<off_t>(payload.capacity()));
    CHECK(plain.memory.in_flight() == arena_bytes + payload.capacity());
  }
  others.clear();
  CHECK(plain.memory.has_room(1));
  CHECK(plain.memory.in_flight() == 0);
}

TEST_CASE("an empty payload is one too, in the arena and on the heap") {
  TestMemory plain;
  TaskWriter writer(plain.memory, 0);
  const TaskPayload empty = writer.finish();
  CHECK(empty.size == 0);
  auto others = fill(plain.memory);
  TaskWriter waiting(plain.memory, 0);
  TaskPayload heap = waiting.finish();
  others.clear();
  CHECK(plain.memory.bring_in(heap));
  CHECK(heap.in_arena());
}

TEST_CASE("finishing gives back what was not used") {
  TestMemory plain;
  TaskWriter writer(plain.memory, 8000);
  const auto bytes = pattern(300, 2);
  writer.write(bytes.data(), bytes.size());
  const TaskPayload payload = writer.finish();
  CHECK(payload.capacity() == 512);
  CHECK(plain.memory.in_flight() == 512);
  check_bytes(payload, bytes);
}

TEST_CASE("finishing gives back what was not used of memory of its own") {
  TestMemory plain;
  TaskWriter writer(plain.memory, 1'000'000);
  const auto bytes = pattern(50'000, 2);
  writer.write(bytes.data(), bytes.size());
  const TaskPayload payload = writer.finish();
  CHECK(payload.capacity() == 53'248);
  CHECK(plain.memory.in_flight() == 53'248);
  CHECK(::lseek(payload.own_fd(), 0, SEEK_END) == 53'248);
  check_bytes(payload, bytes);
}

TEST_CASE("finished memory of its own can be mapped by others, but written by none of them") {
  TestMemory plain;
  const auto bytes = pattern(3 * largest_block, 3);
  TaskWriter writer(plain.memory, 128);
  writer.write(bytes.data(), bytes.size());
  const TaskPayload payload = writer.finish();
  REQUIRE(payload.has_own_memory());
  check_bytes(payload, bytes);
  const auto seen = memory::map(payload.own_fd(), 0, bytes.size(), memory::Access::read_only);
  CHECK(std::equal(bytes.begin(), bytes.end(), memory::address(seen)));
  CHECK_THROWS_AS((void)memory::map(payload.own_fd(), 0, bytes.size(), memory::Access::read_write),
                  std::system_error);
}

TEST_CASE("what is written survives every enlargement, from the arena to memory of its own") {
  TestMemory plain;
  for (const std::size_t piece : {1u, 7u, 100u, 4096u, 30'000u}) {
    const auto bytes = pattern(200'000, piece);
    TaskWriter writer(plain.memory, 1);
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      REQUIRE(writer.position() == at);
      writer.write(bytes.data() + at, std::min(piece, bytes.size() - at));
    }
    check_bytes(writer.finish(), bytes);
    CHECK(plain.memory.in_flight() == 0);
  }
}

TEST_CASE("one large value gets the room that it needs at once, and not twice that") {
  TestMemory plain;
  TaskWriter writer(plain.memory, 128);
  const auto bytes = pattern(1'000'000, 4);
  writer.write(bytes.data(), bytes.size());
  const TaskPayload payload = writer.finish();
  CHECK(payload.capacity() < 1'010'000);
  CHECK(plain.memory.in_flight() == payload.capacity());
}

TEST_CASE("a rewound item leaves no trace and a patch finds its place after enlargements") {
  TestMemory plain;
  std::mt19937 random(5);
  for (int round = 0; round < 50; ++round) {
    TaskWriter writer(plain.memory, 1);
    std::vector<std::byte> expected;
    for (int item = 0; item < 40; ++item) {
      const std::size_t start = writer.position();
      REQUIRE(start == expected.size());
      const std::uint64_t unknown = 0;
      writer.write(&unknown, sizeof unknown);
      const auto bytes = pattern(random() % 3000, static_cast<std::uint64_t>(item));
      writer.write(bytes.data(), bytes.size());
      if (random() % 3 == 0) {
        writer.rewind(start);
        continue;
      }
      const std::uint64_t size = bytes.size();
      writer.patch(start, size);
      const auto* raw = reinterpret_cast<const std::byte*>(&size);
      expected.insert(expected.end(), raw, raw + sizeof size);
      expected.insert(expected.end(), bytes.begin(), bytes.end());
    }
    REQUIRE(writer.written().size() == expected.size());
    check_bytes(writer.finish(), expected);
  }
  CHECK(plain.memory.in_flight() == 0);
}

TEST_CASE("without memory for a large payload the writer throws, and nothing is lost or counted") {
  TestMemory plain;
  const auto bytes = pattern(largest_block, 6);
  TaskWriter writer(plain.memory, largest_block);
  writer.write(bytes.data(), bytes.size());
  {
    const testing::Replaced full(
        detail::system_calls.fallocate, +[](int, int, off_t, off_t) { return errno = ENOSPC, -1; });
    CHECK_THROWS_AS(writer.write("x", 1), std::system_error);
    CHECK_THROWS_AS((void)plain.memory.allocate(100'000), std::system_error);
  }
  CHECK(plain.memory.in_flight() == largest_block);
  check_bytes(writer.finish(), bytes);
  CHECK(plain.memory.in_flight() == 0);
}

TEST_CASE("there is room while the arena has a block, and always for what it would not hold") {
  TestMemory plain;
  CHECK(plain.memory.has_room(largest_block / 2));
  const auto payloads = fill(plain.memory);
  CHECK_FALSE(plain.memory.has_room(largest_block / 2));
  CHECK(plain.memory.has_room(largest_block));
  CHECK(plain.memory.has_room(SIZE_MAX));
}
