/// A task that writes nonsense wherever it can: over the claim words, which all workers share, and
/// over its own lane. Whatever it does there, the program is unharmed, every call ends, and every
/// item has one outcome.
///
/// The tests run in the parent, the scribbling happens in workers. They find the memory as a stray
/// pointer would: it is mapped.
#include <cinttypes>
#include <cstring>
#include <fstream>
#include <numeric>
#include <random>
#include <span>
#include <thread>

#include <libpool/ring/result_ring.hpp>

#include "matrix.hpp"

using libpool::ProcessPool;
using libpool::WorkerCrashed;

namespace {

/// How the claim words look afterwards.
enum class Scribble { zeros, ones, noise, wrong_owners, wrong_tickets, all_ready, other_owners };

constexpr std::array harmless_scribbles{Scribble::zeros, Scribble::ones, Scribble::wrong_owners,
                                        Scribble::wrong_tickets};

constexpr std::size_t hint_words = 8;  ///< in front of the claim words

/// What this process has mapped of that name, to write to.
std::span<std::uint64_t> writable(const char* name) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find(name) == std::string::npos || line.find(" rw-s") == std::string::npos) continue;
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR, &begin, &end);
    return {reinterpret_cast<std::uint64_t*>(begin), (end - begin) / sizeof(std::uint64_t)};
  }
  return {};
}

std::uint64_t scribbled(std::uint64_t word, Scribble how, std::mt19937_64& random) {
  constexpr std::uint64_t claimed = 2;
  switch (how) {
    case Scribble::zeros:
      return 0;
    case Scribble::ones:
      return UINT64_MAX;
    case Scribble::noise:
      return random();
    case Scribble::wrong_owners:
      return word | 0x3FFF;
    case Scribble::wrong_tickets:
      return word + (std::uint64_t{1} << 40);
    case Scribble::all_ready:
      return word >> 16 << 16 | 1 << 14;
    case Scribble::other_owners:
      return word >> 16 << 16 | claimed << 14 | random() % 3;
  }
  return 0;
}

void scribble_over_claims(Scribble how) {
  static std::mt19937_64 random(static_cast<std::uint64_t>(::getpid()));
  const auto words = writable("libpool-claims");
  if (words.empty()) std::abort();
  for (auto& word : words.subspan(hint_words)) {
    std::atomic_ref<std::uint64_t> shared(word);
    shared = scribbled(shared, how, random);
  }
}

/// Everything that this worker can reach, its progress word too.
void scribble_over_all(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (const char* name : {"libpool-claims", "libpool-lanes"}) {
    for (auto& word : writable(name)) std::atomic_ref{word} = random();
  }
}

std::vector<int> numbers(int n) {
  std::vector<int> values(static_cast<std::size_t>(n));
  std::iota(values.begin(), values.end(), 0);
  return values;
}

constexpr int items = 300;

/// Every outcome is there, and is the item's value or a crash.
template <class Outcomes>
void check_outcomes(const Outcomes& outcomes, std::size_t count = items) {
  CHECK(outcomes.size() == count);
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    CAPTURE(i);
    if (outcomes[i].has_value()) {
      CHECK(outcomes[i].value() == static_cast<int>(i));
    } else {
      CHECK_THROWS_AS(outcomes[i].value(), WorkerCrashed);
    }
  }
}

/// Every value comes from its item's run. A worker that a reset kills may have named an item and
/// not yet run it; that one is blamed.
template <class Outcomes>
void check_executed(const Outcomes& outcomes) {
  for (const auto& outcome : outcomes) {
    if (outcome.has_value()) CHECK(oracle::executions(static_cast<int>(outcome.index())) != 0);
  }
}

/// Some of many short items, which travel together, write over the word out of which their worker
/// takes the next ones; then they are late, so that the parent looks at it.
int scribble_over_remainder(int item) {
  static std::mt19937_64 random(static_cast<std::uint64_t>(::getpid()));
  constexpr std::size_t place = offsetof(libpool::ring::LaneHeader, remainder) / 8;
  if (item % 5000 != 4990) return item;
  std::atomic_ref<std::uint64_t> word(writable("libpool-lanes")[place]);
  switch (random() % 4) {
    case 0:
      word = random();
      break;
    case 1:
      word = word >> 20 << 20;  // none was begun
      break;
    case 2:
      word += std::uint64_t{1} << 20;  // another end
      break;
    default:
      word += std::uint64_t{1} << 40;  // another ticket
      break;
  }
  std::this_thread::sleep_for(std::chrono::milliseconds{1});
  return item;
}

void check_pool_works(ProcessPool& pool) {
  CHECK(pool.map([](int item) { return item; }, numbers(100)) == numbers(100));
}

/// A map in which some items scribble over the claim words, once each: in an old chunk that is
/// ready again they would do it again. Checks the outcomes and the pool.
libpool::PoolStats map_with_scribbles(Scribble how, std::size_t chunksize) {
  CAPTURE(static_cast<int>(how));
  ProcessPool pool(3);
  oracle::Fresh fresh;
  oracle::page.words[0] = static_cast<std::int64_t>(how);
  const auto outcomes = pool.try_map(
      [](int item) {
        oracle::count_execution(item);
        if (item % 50 == 25 && oracle::executions(item) == 1) {
          scribble_over_claims(static_cast<Scribble>(oracle::page.words[0].load()));
        }
        std::this_thread::sleep_for(std::chrono::microseconds{200});
        return item;
      },
      numbers(items), {.chunksize = chunksize});
  check_outcomes(outcomes);
  check_executed(outcomes);
  const libpool::PoolStats stats = pool.stats();
  check_pool_works(pool);
  return stats;
}

}  // namespace

TEST_CASE(
    "a task that scribbles over all claim words costs running items, and no item runs twice") {
  for (const Scribble how : harmless_scribbles) {
    for (const std::size_t chunksize : {1U, 7U}) {
      CHECK(map_with_scribbles(how, chunksize).crashed < items / 2);
      CHECK(oracle::executed(items, 2) == 0);
    }
  }
}

TEST_CASE("scribbles that have chunks run twice cost no outcome") {
  for (const Scribble how : {Scribble::noise, Scribble::all_ready, Scribble::other_owners}) {
    map_with_scribbles(how, 3);
  }
}

TEST_CASE("a task that leaves no trace of itself when it dies is run as often as is allowed") {
  for (const std::size_t allowed : {1U, 3U}) {
    ProcessPool pool(1, {.unexplained_deaths = allowed});
    const auto vanish = [] {
      for (auto& word : writable("libpool-lanes")) std::atomic_ref{word} = 0;
      ::kill(::getpid(), SIGKILL);
    };
    CHECK_THROWS_AS(pool.apply(vanish), WorkerCrashed);
    CHECK(pool.stats().workers_lost == allowed);
    check_pool_works(pool);
  }
}

TEST_CASE("a task that scribbles over everything it can reach ends, and so does the call") {
  for (const std::size_t chunksize : {1U, 5U}) {
    ProcessPool pool(2, {.result_ring = 4096});
    oracle::Fresh fresh;
    const auto outcomes = pool.try_map(
        [](int item) {
          oracle::count_execution(item);
          if (item % 60 == 7) scribble_over_all(static_cast<std::uint64_t>(item));
          return std::string(static_cast<std::size_t>(item) * 20, 'x');
        },
        numbers(items), {.chunksize = chunksize});
    CHECK(outcomes.size() == items);
    for (const auto& outcome : outcomes) {
      if (outcome.has_value()) CHECK(outcome.value().size() % 20 == 0);
    }
    // Little but what was running is lost.
    CHECK(oracle::executed(items, 0) < items / 10);
    CHECK(pool.stats().crashed < items / 4);
    check_pool_works(pool);
  }
}

TEST_CASE("a task that never stops scribbling is stopped") {
  ProcessPool pool(2);
  oracle::Fresh fresh;
  check_outcomes(pool.try_map(
                     [](int item) {
                       oracle::count_execution(item);
                       while (item == 5) scribble_over_claims(Scribble::zeros);
                       return item;
                     },
                     numbers(40)),
                 40);
  check_pool_works(pool);
}

TEST_CASE("a thread that a task leaves behind scribbles while the pool sleeps") {
  ProcessPool pool(2);
  oracle::Fresh fresh;
  // All is quiet when it happens: one worker sleeps in a task, and nothing else wakes the parent.
  auto quiet = pool.map_async(
      [](int item) {
        if (item == 0) {
          std::thread([] {
            std::this_thread::sleep_for(std::chrono::milliseconds{200});
            scribble_over_claims(Scribble::zeros);
          }).detach();
          return item;
        }
        while (item == 1) ::pause();
        return item;
      },
      numbers(2), {.chunksize = 1});
  REQUIRE(quiet.wait(std::chrono::seconds{60}));
  CHECK_THROWS_AS(quiet.get(), WorkerCrashed);
  check_pool_works(pool);
}

TEST_CASE("a task that writes over what is left of its bundle harms no outcome") {
  ProcessPool pool(3);
  constexpr int many = 20'000;
  for (int round = 0; round < 8; ++round) {
    check_outcomes(pool.try_map(scribble_over_remainder, numbers(many), {.chunksize = 1}), many);
  }
  check_pool_works(pool);
}
