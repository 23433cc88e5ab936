/// Facts about the progress word: what it can name, and what counts as begun.
#include <libpool/ring/progress_word.hpp>

#include <doctest/doctest.h>

#include <random>
#include <string>

using namespace libpool::ring;

namespace {

constexpr Phase phases[] = {Phase::idle,   Phase::claimed,   Phase::decode, Phase::run,
                            Phase::encode, Phase::published, Phase::retired};

}  // namespace

TEST_CASE("ticket, item and phase come back over the whole range of each") {
  std::vector<std::uint64_t> tickets{0, 1, progress_ticket_mask - 1, progress_ticket_mask};
  std::vector<std::uint32_t> items{0, 1, max_chunk_items - 1, max_chunk_items};
  for (int bit = 0; bit < 40; ++bit) tickets.push_back(std::uint64_t{1} << bit);
  for (int bit = 0; bit < 20; ++bit) items.push_back(std::uint32_t{1} << bit);
  ProgressWord word{};
  for (const std::uint64_t ticket : tickets) {
    for (const std::uint32_t item : items) {
      for (const Phase phase : phases) {
        const Progress progress{ticket, item, phase};
        word.enter(progress);
        REQUIRE(word.read() == progress);
        word.reset();
        word.enter_stoppable(progress);
        REQUIRE(word.read() == progress);
      }
    }
  }
}

TEST_CASE("every 64-bit word unpacks to what packs to it again") {
  std::mt19937_64 random(1);
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t word = random();
    REQUIRE(Progress::unpack(word).pack() == word);
  }
}

TEST_CASE("a ticket is named modulo what the word has room for") {
  const std::uint64_t ticket = (std::uint64_t{5} << 40) + 77;
  ProgressWord word{};
  word.enter({ticket, 3, Phase::run});
  CHECK(word.read() == Progress{77, 3, Phase::run});
  CHECK(word.read().names(ticket));
  CHECK(word.read().names(77));
  CHECK_FALSE(word.read().names(78));
  CHECK_FALSE(word.read().names(ticket + 1));
}

TEST_CASE("an item is begun while it is decoded, run or encoded, and at no other time") {
  for (const Phase phase : phases) {
    const bool expected = phase == Phase::decode || phase == Phase::run || phase == Phase::encode;
    CHECK(Progress{1, 0, phase}.begun() == expected);
  }
  for (unsigned forged = 7; forged < 16; ++forged) {
    CHECK_FALSE(Progress{1, 0, static_cast<Phase>(forged)}.begun());
  }
}

TEST_CASE("each phase in which an item can be blamed has words of its own") {
  CHECK(std::string(describe(Phase::decode)) == "decoding");
  CHECK(std::string(describe(Phase::run)) == "running");
  CHECK(std::string(describe(Phase::encode)) == "encoding the result of");
  CHECK(std::string(describe(static_cast<Phase>(15))) == "between items of");
}

TEST_CASE("a reset word names nothing") {
  ProgressWord word{};
  word.enter({9, 9, Phase::run});
  word.reset();
  CHECK(word.read() == Progress{});
  CHECK_FALSE(word.read().begun());
}
