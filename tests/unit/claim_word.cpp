/// Facts about the claim word: its transitions, what forged words lead to, and who wins a race.
#include <libpool/ring/claim_word.hpp>

#include <doctest/doctest.h>

#include <array>
#include <random>
#include <thread>
#include <vector>

using libpool::ring::Claim;
using libpool::ring::ClaimWord;
using libpool::ring::max_ticket;
using libpool::ring::max_workers;

namespace {

/// What only a worker gone wild could write.
void forge(ClaimWord& word, std::uint64_t bits) {
  reinterpret_cast<std::atomic<std::uint64_t>&>(word).store(bits);
}

std::uint64_t bits_of(const ClaimWord& word) {
  return reinterpret_cast<const std::atomic<std::uint64_t>&>(word).load();
}

}  // namespace

TEST_CASE("a zero word is free: nothing to claim, nothing to revoke") {
  ClaimWord word{};
  CHECK(word.read() == Claim{0, Claim::State::free, 0});
  CHECK_FALSE(word.ready());
  CHECK_FALSE(word.claim(1));
  CHECK_FALSE(word.revoke(1));
  CHECK(bits_of(word) == 0);
}

TEST_CASE("publish, claim and release lead from free to ready to claimed to free") {
  ClaimWord word{};
  word.publish(42);
  CHECK(word.ready());
  CHECK(word.read() == Claim{42, Claim::State::ready, 0});
  CHECK(word.claim(7) == 42);
  CHECK_FALSE(word.ready());
  CHECK(word.read() == Claim{42, Claim::State::claimed, 7});
  word.release();
  CHECK(bits_of(word) == 0);
}

TEST_CASE("a chunk is claimed once") {
  ClaimWord word{};
  word.publish(42);
  REQUIRE(word.claim(7));
  CHECK_FALSE(word.claim(8));
  CHECK_FALSE(word.claim(7));
  CHECK(word.read().owner == 7);
}

TEST_CASE("revoke takes back exactly the ready chunk of its ticket") {
  ClaimWord word{};
  word.publish(42);
  CHECK_FALSE(word.revoke(41));
  CHECK_FALSE(word.revoke(43));
  CHECK(word.read() == Claim{42, Claim::State::ready, 0});
  CHECK(word.revoke(42));
  CHECK(bits_of(word) == 0);
  CHECK_FALSE(word.revoke(42));
  CHECK_FALSE(word.claim(1));
}

TEST_CASE("revoke fails once the chunk is claimed, and when its slot holds a later one") {
  ClaimWord word{};
  word.publish(42);
  REQUIRE(word.claim(0));
  CHECK_FALSE(word.revoke(42));
  CHECK(word.read() == Claim{42, Claim::State::claimed, 0});
  word.release();
  word.publish(43);
  CHECK_FALSE(word.revoke(42));
  CHECK(word.read() == Claim{43, Claim::State::ready, 0});
}

TEST_CASE("every owner fits beside the smallest and the largest ticket") {
  for (const std::uint64_t ticket : {std::uint64_t{1}, std::uint64_t{1} << 40, max_ticket}) {
    for (std::uint32_t owner = 0; owner < max_workers; ++owner) {
      ClaimWord word{};
      word.publish(ticket);
      REQUIRE(word.claim(owner) == ticket);
      REQUIRE(word.read() == Claim{ticket, Claim::State::claimed, owner});
    }
  }
}

TEST_CASE("packing loses nothing: every 64-bit word unpacks to what packs to it again") {
  std::mt19937_64 random(1);
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t word = random();
    REQUIRE(Claim::unpack(word).pack() == word);
  }
  CHECK(Claim::unpack(UINT64_MAX).pack() == UINT64_MAX);
  CHECK(Claim::unpack(UINT64_MAX).ticket == max_ticket);
}

TEST_CASE(
    "no forged word can be claimed unless its state is ready, and a refusal changes nothing") {
  std::mt19937_64 random(2);
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t bits = random();
    const Claim forged = Claim::unpack(bits);
    ClaimWord word{};
    forge(word, bits);
    REQUIRE(word.ready() == (forged.state == Claim::State::ready));
    const auto ticket = word.claim(9);
    if (forged.state == Claim::State::ready) {
      // Whoever scribbled, what is claimed is what was there, and the word says whose it is.
      REQUIRE(ticket == forged.ticket);
      REQUIRE(word.read() == Claim{forged.ticket, Claim::State::claimed, 9});
    } else {
      REQUIRE_FALSE(ticket);
      REQUIRE(bits_of(word) == bits);
    }
  }
}

TEST_CASE("a ready word that names an owner is nobody's to revoke") {
  ClaimWord word{};
  forge(word, Claim{42, Claim::State::ready, 3}.pack());
  CHECK_FALSE(word.revoke(42));
}

TEST_CASE("publish and release mend whatever was scribbled over a word") {
  std::mt19937_64 random(3);
  for (int i = 0; i < 1000; ++i) {
    ClaimWord word{};
    forge(word, random());
    word.publish(5);
    REQUIRE(word.read() == Claim{5, Claim::State::ready, 0});
    forge(word, random());
    word.release();
    REQUIRE(bits_of(word) == 0);
  }
}

TEST_CASE("of claims and a revoke that race for a chunk exactly one wins") {
  constexpr std::uint64_t tickets = 20'000;
  constexpr std::uint32_t claimers = 3;
  ClaimWord word{};
  std::atomic<std::uint64_t> round{0};
  std::array<std::vector<std::uint64_t>, claimers> claimed;
  std::atomic<std::uint64_t> wins{0};
  {
    std::vector<std::jthread> threads;
    for (std::uint32_t worker = 0; worker < claimers; ++worker) {
      threads.emplace_back([&, worker] {
        while (round.load() <= tickets) {
          if (const auto ticket = word.claim(worker)) {
            claimed[worker].push_back(*ticket);
            ++wins;
          }
        }
      });
    }
    std::uint64_t revoked = 0;
    for (std::uint64_t ticket = 1; ticket <= tickets; ++ticket) {
      round = ticket;
      word.publish(ticket);
      if (ticket % 3 == 0) std::this_thread::yield();
      if (word.revoke(ticket)) {
        ++revoked;
        continue;
      }
      const Claim claim = word.read();
      REQUIRE(claim.state == Claim::State::claimed);
      REQUIRE(claim.ticket == ticket);
      while (wins.load() + revoked < ticket) std::this_thread::yield();
      word.release();
    }
    round = tickets + 1;
  }
  std::vector<int> times(tickets + 1);
  for (const auto& list : claimed) {
    for (const std::uint64_t ticket : list) ++times[ticket];
  }
  for (const int count : times) REQUIRE(count <= 1);
}
