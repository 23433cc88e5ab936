/// Facts about the stop word, alone and against the progress word.
#include <libpool/ring/stop_word.hpp>

#include <doctest/doctest.h>

#include <thread>

#include <libpool/ring/progress_word.hpp>

using namespace libpool::ring;

TEST_CASE("a stop is requested until it is taken back, however often it was requested") {
  StopWord stop{};
  CHECK_FALSE(stop.requested());
  stop.request();
  stop.request();
  CHECK(stop.requested());
  stop.take_back();
  CHECK_FALSE(stop.requested());
}

TEST_CASE("either the worker sees the stop or the parent sees the item that it begins") {
  // Both sides meet in each round; a round in which neither sees the other would let the parent
  // kill a worker for an item that it has left.
  constexpr std::uint32_t rounds = 20'000;
  StopWord stop{};
  ProgressWord progress{};
  std::atomic<std::uint32_t> arrived{0};
  const auto meet = [&arrived](std::uint32_t round) {
    ++arrived;
    while (arrived.load() < 2 * round) std::this_thread::yield();
  };
  std::atomic<bool> worker_saw{false};
  std::jthread worker([&] {
    for (std::uint32_t round = 1; round <= rounds; ++round) {
      meet(3 * round - 2);
      progress.enter_stoppable({round, 0, Phase::decode});
      worker_saw = stop.requested();
      meet(3 * round - 1);
      meet(3 * round);
    }
  });
  std::uint32_t blind = 0;
  for (std::uint32_t round = 1; round <= rounds; ++round) {
    meet(3 * round - 2);
    stop.request();
    const bool parent_saw = progress.read().names(round);
    meet(3 * round - 1);
    if (!parent_saw && !worker_saw) ++blind;
    stop.take_back();
    meet(3 * round);
  }
  CHECK(blind == 0);
}
