/// Facts about the remainder word: each item of a bundle is begun by its worker or taken back, and
/// never both.
#include <libpool/ring/remainder_word.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <thread>

using libpool::ring::max_bundle_items;
using libpool::ring::Remainder;
using libpool::ring::RemainderWord;

namespace {

constexpr std::uint64_t ticket = 0x123456789;

std::uint32_t take_all(RemainderWord& word) {
  std::uint32_t taken = 0;
  while (word.take()) ++taken;
  return taken;
}

}  // namespace

TEST_CASE("the word holds what is put into it") {
  const Remainder largest{0xFFFFFF, max_bundle_items, max_bundle_items + 1};
  CHECK(Remainder::unpack(largest.pack()) == largest);
  const Remainder some{7, 5, 3};
  CHECK(Remainder::unpack(some.pack()) == some);
  CHECK(some.open());
  CHECK_FALSE(Remainder{7, 5, 5}.open());
  CHECK_FALSE(Remainder{}.open());
}

TEST_CASE("a worker takes the items in turn, and then none") {
  RemainderWord word{};
  CHECK_FALSE(word.take());
  word.open(ticket, 2, 5);
  CHECK(word.read() == Remainder{0x456789, 5, 2});
  CHECK(take_all(word) == 3);
  CHECK_FALSE(word.read().open());
  CHECK(word.take_back(ticket, 2, 5) == std::nullopt);
}

TEST_CASE("the largest bundle does not overflow") {
  RemainderWord word{};
  word.open(ticket, max_bundle_items - 1, max_bundle_items);
  CHECK(take_all(word) == 1);
  CHECK(word.read() == Remainder{0x456789, max_bundle_items, max_bundle_items + 1});
}

TEST_CASE("what is taken back is not to be had any more") {
  RemainderWord word{};
  word.open(ticket, 0, 8);
  CHECK(word.take());
  CHECK(word.take());
  CHECK(word.take_back(ticket, 1, 8) == 2);
  CHECK_FALSE(word.take());
  CHECK(word.take_back(ticket, 1, 2) == std::nullopt);

  word.open(ticket, 0, 8);
  CHECK(word.take_back(ticket, 0, 8) == 0);
  CHECK(take_all(word) == 0);
}

TEST_CASE("nothing is taken back by who knows it otherwise") {
  RemainderWord word{};
  word.open(ticket, 0, 8);
  CHECK(word.take());
  CHECK(word.take_back(ticket + 1, 0, 8) == std::nullopt);
  CHECK(word.take_back(ticket, 0, 7) == std::nullopt);
  CHECK(word.take_back(ticket, 2, 8) == std::nullopt);
  CHECK(take_all(word) == 7);
  word.open(ticket, 0, 8);
  word.reset();
  CHECK(word.take_back(ticket, 0, 8) == std::nullopt);
}

TEST_CASE("each item has one owner, whoever comes first") {
  constexpr std::uint32_t items = 200;
  RemainderWord word{};
  std::atomic<std::uint64_t> round{0};
  std::atomic<std::uint64_t> taken{0};
  std::atomic<std::uint64_t> done{0};
  constexpr std::uint64_t rounds = 2000;
  std::thread worker([&] {
    for (std::uint64_t mine = 1; mine <= rounds; ++mine) {
      while (round.load() != mine) std::this_thread::yield();
      taken = take_all(word);
      done = mine;
    }
  });
  std::uint64_t wrong = 0;
  for (std::uint64_t now = 1; now <= rounds; ++now) {
    word.open(now, 0, items);
    round = now;
    for (std::uint64_t spin = 0; spin < now % 64 * 8; ++spin) (void)word.read();
    const auto back = word.take_back(now, 0, items);
    while (done.load() != now) std::this_thread::yield();
    if (taken.load() != back.value_or(items)) ++wrong;
  }
  worker.join();
  CHECK(wrong == 0);
}
