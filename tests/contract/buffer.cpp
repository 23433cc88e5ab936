/// Contract: `Buffer`, a result that holds the memory into which it was received.
///
/// Runs in the test; the tasks run in workers of both pools.
#include "contract.hpp"

#include <algorithm>
#include <cstdint>
#include <span>
#include <tuple>

using namespace contract;
using libpool::Buffer;

namespace {

constexpr std::size_t large = 300'000;  // elements: far more than a result ring holds

Buffer<std::int64_t> count_to(std::size_t size) {
  std::vector<std::int64_t> numbers(size);
  std::iota(numbers.begin(), numbers.end(), std::int64_t{0});
  return numbers;
}
bool counts_to(const Buffer<std::int64_t>& buffer, std::size_t size) {
  std::int64_t next = 0;
  return buffer.size() == size &&
         std::ranges::all_of(buffer, [&](std::int64_t each) { return each == next++; });
}
std::int64_t sum(std::span<const std::int64_t> numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), std::int64_t{0});
}
/// Two blocks in one payload, behind bytes that leave them unaligned.
std::tuple<std::string, Buffer<std::int64_t>, char, Buffer<double>> mixed(std::size_t size) {
  return {"text", count_to(size), 'x', std::vector<double>(size, 0.5)};
}

}  // namespace

BOTH_POOLS("buffers of every size arrive whole") {
  Pool pool(2);
  const std::vector<std::size_t> sizes{0, 1, 100, 2000, 9000, large, 3 * large};
  const auto buffers = pool.map(count_to, sizes, {.chunksize = 2});
  for (std::size_t i = 0; i < sizes.size(); ++i) CHECK(counts_to(buffers[i], sizes[i]));
}

BOTH_POOLS("a buffer outlives its copies and its pool") {
  Buffer<std::int64_t> kept;
  {
    Pool pool(1);
    const Buffer<std::int64_t> first = pool.apply(count_to, large);
    kept = first;
    CHECK(kept.data() == first.data());
  }
  CHECK(counts_to(kept, large));
}

BOTH_POOLS("a buffer is an argument, for a span too") {
  Pool pool(1);
  const Buffer<std::int64_t> numbers = count_to(large);
  const auto expected = static_cast<std::int64_t>(large * (large - 1) / 2);
  CHECK(pool.apply(sum, numbers) == expected);
  CHECK(pool.map(sum, std::vector(3, numbers)) == std::vector(3, expected));
  CHECK(pool.apply([](const Buffer<std::int64_t>& all) { return all[7]; }, numbers) == 7);
}

BOTH_POOLS("buffers lie aligned beside other values") {
  Pool pool(1);
  for (const std::size_t size : {std::size_t{3}, large}) {
    const auto [text, numbers, letter, halves] = pool.apply(mixed, size);
    CHECK(text == "text");
    CHECK(letter == 'x');
    CHECK(counts_to(numbers, size));
    CHECK(halves.size() == size);
    CHECK(std::ranges::count(halves, 0.5) == static_cast<std::ptrdiff_t>(size));
    CHECK(reinterpret_cast<std::uintptr_t>(halves.data()) % alignof(double) == 0);
  }
}

BOTH_POOLS("a buffer that is moved from is empty") {
  Pool pool(1);
  Buffer<std::int64_t> first = pool.apply(count_to, large);
  Buffer<std::int64_t> second = std::move(first);
  CHECK(first.empty());
  first = std::move(second);
  CHECK(second.empty());
  CHECK(counts_to(first, large));
}

TEST_CASE("a small buffer keeps nothing of the large result that it was in") {
  ProcessPool pool(1);
  const auto [text, letters] = pool.apply(
      [](std::size_t size) {
        return std::pair(std::string(size, 'x'), Buffer<char>(std::vector<char>(16, 'y')));
      },
      large);
  const auto* const text_place = text.data();
  CHECK(letters.size() == 16);
  CHECK(letters[15] == 'y');
  CHECK((letters.data() < text_place || letters.data() >= text_place + large));
}

TEST_CASE("memory receives another result only when no buffer of the first is left") {
  ProcessPool pool(1);
  (void)pool.apply(count_to, large);
  const Buffer<std::int64_t> second = pool.apply(count_to, large);
  const Buffer<std::int64_t> third = pool.apply(count_to, large / 2);
  CHECK(counts_to(second, large));
  CHECK(counts_to(third, large / 2));
}

TEST_CASE("a pool that may keep no memory of results keeps none") {
  ProcessPool pool(1, {.result_memory = 0});
  for (int round = 0; round < 3; ++round) CHECK(counts_to(pool.apply(count_to, large), large));
}
