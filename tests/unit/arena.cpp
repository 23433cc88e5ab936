/// Facts about the arena, against a simple oracle: the list of the blocks that are alive.
#include <libpool/memory/arena.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <map>
#include <new>
#include <random>
#include <vector>

using libpool::memory::Arena;
using libpool::memory::Block;

namespace {

bool never(std::size_t, std::size_t) { return false; }
bool always(std::size_t, std::size_t) { return true; }

constexpr std::size_t capacity = std::size_t{1} << 16;

/// The blocks alive, by offset. Says what a correct arena may do next.
class Oracle {
 public:
  void add(Block block) {
    const auto next = blocks_.lower_bound(block.offset);
    if (next != blocks_.end()) REQUIRE(block.offset + block.size <= next->first);
    if (next != blocks_.begin()) {
      const auto& [offset, size] = *std::prev(next);
      REQUIRE(offset + size <= block.offset);
    }
    blocks_[block.offset] = block.size;
    used_ += block.size;
  }
  void remove(Block block) {
    REQUIRE(blocks_.at(block.offset) == block.size);
    blocks_.erase(block.offset);
    used_ -= block.size;
  }
  [[nodiscard]] std::size_t used() const { return used_; }

  /// Whether a whole aligned range of this size is free somewhere below `end`.
  [[nodiscard]] bool has_room(std::size_t size, std::size_t end) const {
    for (std::size_t offset = 0; offset + size <= end; offset += size) {
      auto next = blocks_.lower_bound(offset);
      const bool after = next == blocks_.end() || next->first >= offset + size;
      const bool before =
          next == blocks_.begin() || std::prev(next)->first + std::prev(next)->second <= offset;
      if (after && before) return true;
    }
    return false;
  }

 private:
  std::map<std::size_t, std::size_t> blocks_;
  std::size_t used_ = 0;
};

std::size_t fitting(std::size_t bytes) {
  return std::bit_ceil(std::max(bytes, Arena::smallest_block));
}

}  // namespace

TEST_CASE("a block is the smallest power of two that fits, aligned to its size") {
  for (std::size_t bytes = 0; bytes <= 3000; ++bytes) {
    Arena arena(capacity, capacity, never);
    const auto first = arena.allocate(1);
    const auto block = arena.allocate(bytes);
    REQUIRE(first);
    REQUIRE(block);
    REQUIRE(block->size == fitting(bytes));
    REQUIRE(block->offset % block->size == 0);
    REQUIRE(arena.used() == first->size + block->size);
  }
}

TEST_CASE("what is larger than the arena is refused, whatever its size") {
  Arena arena(capacity, capacity, never);
  CHECK_FALSE(arena.allocate(capacity + 1));
  CHECK_FALSE(arena.allocate(SIZE_MAX));
  CHECK_FALSE(arena.has_room(SIZE_MAX));
  CHECK_FALSE(arena.allocate(SIZE_MAX / 2 + 2));
  CHECK(arena.used() == 0);
  const auto whole = arena.allocate(capacity);
  REQUIRE(whole);
  CHECK_FALSE(arena.allocate(0));
  arena.free(*whole);
  CHECK(arena.allocate(0));
}

TEST_CASE("shrinking keeps the start of a block and frees the rest of it") {
  Arena arena(capacity, capacity, never);
  Block block = *arena.allocate(capacity);
  arena.shrink(block, 1000);
  CHECK(block.offset == 0);
  CHECK(block.size == 1024);
  CHECK(arena.used() == 1024);
  // Everything else is there again: halves of the arena, of its lower half, and so on.
  std::vector<Block> others;
  for (std::size_t size = capacity / 2; size >= 1024; size /= 2) {
    const auto other = arena.allocate(size);
    REQUIRE(other);
    others.push_back(*other);
  }
  CHECK_FALSE(arena.allocate(1));
  arena.shrink(block, 1024);
  CHECK(block.size == 1024);
  arena.shrink(block, 0);
  CHECK(block.size == Arena::smallest_block);
  for (const Block& other : others) arena.free(other);
  arena.free(block);
  CHECK(arena.used() == 0);
  CHECK(arena.allocate(capacity));
}

TEST_CASE("any order of allocating, shrinking and freeing keeps blocks apart and loses no room") {
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    Arena arena(capacity, seed % 2 == 0 ? capacity : Arena::smallest_block, always);
    Oracle oracle;
    std::vector<Block> alive;
    for (int step = 0; step < 2000; ++step) {
      const auto dice = static_cast<unsigned>(random() % 10);
      // Phases of growth and of decline.
      const bool grow = dice < (step / 200 % 2 == 0 ? 6u : 3u);
      if (grow || alive.empty()) {
        const std::size_t bytes = random() % (std::size_t{1} << (random() % 15 + 1));
        const bool room = arena.has_room(bytes);
        const auto block = arena.allocate(bytes);
        REQUIRE(block.has_value() == oracle.has_room(fitting(bytes), capacity));
        // One that can still grow is never full.
        REQUIRE((room == block.has_value() || (room && seed % 2 != 0)));
        if (!block) continue;
        REQUIRE(block->size == fitting(bytes));
        REQUIRE(block->offset % block->size == 0);
        REQUIRE(block->offset + block->size <= arena.committed());
        oracle.add(*block);
        alive.push_back(*block);
      } else {
        std::swap(alive[random() % alive.size()], alive.back());
        oracle.remove(alive.back());
        if (dice == 9) {
          const std::size_t bytes = random() % (alive.back().size + 1);
          arena.shrink(alive.back(), bytes);
          REQUIRE(alive.back().size == fitting(bytes));
          oracle.add(alive.back());
        } else {
          arena.free(alive.back());
          alive.pop_back();
        }
      }
      REQUIRE(arena.used() == oracle.used());
    }
    std::shuffle(alive.begin(), alive.end(), random);
    for (const Block& block : alive) arena.free(block);
    REQUIRE(arena.used() == 0);
    // All of it has grown together again.
    const auto whole = arena.allocate(capacity);
    REQUIRE(whole);
    REQUIRE(whole->offset == 0);
  }
}

TEST_CASE("an arena that lacks memory to grow stays as it is, and grows later") {
  bool memory = false;
  Arena arena(capacity, Arena::smallest_block, [&](std::size_t, std::size_t) {
    if (!memory) throw std::bad_alloc();
    return true;
  });
  const auto first = arena.allocate(1);
  REQUIRE(first);
  CHECK_FALSE(arena.allocate(1));
  CHECK(arena.committed() == Arena::smallest_block);
  arena.free(*first);
  CHECK_FALSE(arena.allocate(capacity));
  memory = true;
  CHECK(arena.allocate(capacity));
}

TEST_CASE("the arena commits memory by doubling, and only when it has to") {
  std::vector<std::pair<std::size_t, std::size_t>> commits;
  Arena arena(capacity, 1024, [&](std::size_t offset, std::size_t bytes) {
    commits.emplace_back(offset, bytes);
    return true;
  });
  CHECK(arena.committed() == 1024);
  const auto first = arena.allocate(1024);
  CHECK(commits.empty());
  const auto second = arena.allocate(128);
  CHECK(commits == std::vector<std::pair<std::size_t, std::size_t>>{{1024, 1024}});
  const auto third = arena.allocate(4096);
  CHECK(commits.size() == 3);
  CHECK(commits[1] == std::pair<std::size_t, std::size_t>{2048, 2048});
  CHECK(commits[2] == std::pair<std::size_t, std::size_t>{4096, 4096});
  CHECK(arena.committed() == 8192);
  CHECK(arena.used() == 1024 + 128 + 4096);
  for (const auto& block : {first, second, third}) arena.free(*block);
  const auto whole = arena.allocate(8192);
  REQUIRE(whole);
  CHECK(commits.size() == 3);
  arena.free(*whole);
  CHECK(arena.allocate(capacity));
  CHECK(arena.committed() == capacity);
}

TEST_CASE("no memory to commit is an answer, and the arena goes on with what it has") {
  bool memory = false;
  Arena arena(capacity, 1024, [&](std::size_t, std::size_t) { return memory; });
  CHECK_FALSE(arena.allocate(2048));
  const auto first = arena.allocate(1024);
  REQUIRE(first);
  CHECK_FALSE(arena.allocate(1));
  CHECK(arena.committed() == 1024);
  arena.free(*first);
  CHECK(arena.allocate(512));
  memory = true;
  const auto later = arena.allocate(2048);
  REQUIRE(later);
  CHECK(later->offset == 2048);
  CHECK(arena.committed() == 4096);
}
