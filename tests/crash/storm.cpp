/// Killers from outside at random, in every call: what the pool says must agree with what the
/// counters saw.
///
/// The tests run in the parent, with a thread that kills workers of the test's own pool.
#include <random>
#include <stdexcept>
#include <utility>

#include "matrix.hpp"

using namespace crash;
using libpool::ProcessPool;
using libpool::WorkerCrashed;
using namespace std::chrono_literals;

namespace {

/// Kills a random worker of the pool every `mean` or so; must end before the pool. After some kills
/// it waits for the next outcome: a pool whose workers all die before their first task breaks.
class Killer {
 public:
  Killer(ProcessPool& pool, std::chrono::microseconds mean, std::vector<int> signals = {SIGKILL})
      : thread_([&pool, mean, signals = std::move(signals)](const std::stop_token& end) {
          std::mt19937 random(20240229);
          std::exponential_distribution<double> pause(1.0);
          std::uint64_t resolved = 0;
          int kills = 0;
          while (!end.stop_requested()) {
            std::this_thread::sleep_for(mean * pause(random));
            const auto stats = pool.stats();
            const auto& workers = stats.workers;
            if (std::exchange(resolved, stats.succeeded + stats.crashed) != resolved) kills = 0;
            if (workers.empty() || kills == most_kills) continue;
            ++kills;
            const oracle::Watched victim(workers[random() % workers.size()].pid);
            victim.kill(signals[random() % signals.size()]);
          }
        }) {}

 private:
  static constexpr int most_kills = 10;  ///< between two outcomes; fewer than break a pool

  std::jthread thread_;
};

constexpr int items = 20'000;

int busy_work(int item) {
  oracle::count_execution(item);
  volatile int spin = 0;
  for (int i = 0; i < 2000; ++i) spin = spin + i;
  return item * 3;
}
std::vector<int> numbers() {
  std::vector<int> values(items);
  for (int i = 0; i < items; ++i) values[static_cast<std::size_t>(i)] = i;
  return values;
}

/// Each item has one outcome; a result was computed once, a crash happened at most once.
struct Ledger {
  std::vector<int> outcomes = std::vector<int>(items);
  int lost = 0;

  void add(const libpool::Outcome<int>& outcome) {
    const auto item = static_cast<int>(outcome.index());
    ++outcomes.at(outcome.index());
    if (outcome.has_value()) {
      if (*outcome != item * 3 || oracle::executions(item) != 1)
        throw std::logic_error("a wrong result");
    } else {
      ++lost;
      if (oracle::executions(item) > 1) throw std::logic_error("an item started twice");
      try {
        static_cast<void>(outcome.value());
      } catch (const WorkerCrashed& error) {
        if (error.index() != outcome.index()) throw std::logic_error("a wrong index");
      }
    }
  }
  [[nodiscard]] bool complete() const { return std::ranges::count(outcomes, 1) == items; }
};

}  // namespace

TEST_CASE("under a storm of kills every item of try_map has one outcome and starts at most once") {
  for (const std::size_t chunksize : {1U, 16U, 500U}) {
    CAPTURE(chunksize);
    ProcessPool pool(3);
    oracle::Fresh fresh;
    Ledger ledger;
    {
      const Killer killer(pool, 2ms);
      for (const auto& outcome : pool.try_map(busy_work, numbers(), {.chunksize = chunksize}))
        ledger.add(outcome);
    }
    CHECK(ledger.complete());
    CHECK(pool.stats().workers_lost > 0);
    oracle::Fresh again;
    CHECK(pool.map(busy_work, std::vector<int>{1, 2}) == std::vector<int>{3, 6});
  }
}

TEST_CASE("under a storm of kills every item of try_imap_unordered has one outcome") {
  ProcessPool pool(3);
  oracle::Fresh fresh;
  Ledger ledger;
  const Killer killer(pool, 2ms);
  for (auto&& outcome : pool.try_imap_unordered(busy_work, numbers(), {.chunksize = 8}))
    ledger.add(outcome);
  CHECK(ledger.complete());
}

TEST_CASE("under a storm of kills try_imap keeps its order") {
  ProcessPool pool(3);
  oracle::Fresh fresh;
  Ledger ledger;
  std::size_t next = 0;
  const Killer killer(pool, 2ms);
  for (auto&& outcome : pool.try_imap(busy_work, numbers(), {.chunksize = 8})) {
    REQUIRE(outcome.index() == next++);
    ledger.add(outcome);
  }
  CHECK(ledger.complete());
}

TEST_CASE("under a storm of many signals every item has one outcome") {
  ProcessPool pool(3);
  oracle::Fresh fresh;
  Ledger ledger;
  const Killer killer(pool, 2ms, {SIGKILL, SIGSEGV, SIGTERM, SIGABRT, SIGBUS, SIGPIPE});
  for (const auto& outcome : pool.try_map(busy_work, numbers(), {.chunksize = 32}))
    ledger.add(outcome);
  CHECK(ledger.complete());
}

TEST_CASE("under a storm of kills enough retries save every item") {
  ProcessPool pool(3);
  oracle::Fresh fresh;
  const Killer killer(pool, 3ms);
  const auto results = pool.map(busy_work, numbers(), {.chunksize = 32, .retries = 1000});
  for (int i = 0; i < items; ++i) REQUIRE(results[static_cast<std::size_t>(i)] == i * 3);
}

TEST_CASE("under a storm of kills a pool that retires its workers loses nothing else") {
  ProcessPool pool(3, {.max_tasks_per_child = 3});
  oracle::Fresh fresh;
  const Killer killer(pool, 2ms);
  std::vector<int> outcomes(2000);
  for (auto&& outcome :
       pool.try_imap_unordered(busy_work, std::views::iota(0, 2000), {.chunksize = 5})) {
    ++outcomes.at(outcome.index());
    if (outcome) CHECK(*outcome == static_cast<int>(outcome.index()) * 3);
  }
  CHECK(std::ranges::count(outcomes, 1) == 2000);
  for (int i = 0; i < 2000; ++i) REQUIRE(oracle::executions(i) <= 1);
}

TEST_CASE("under a storm of kills large arguments and results arrive whole or not at all") {
  ProcessPool pool(3, {.task_memory = std::size_t{1} << 20, .result_ring = 4096});
  const std::vector<std::string> blocks(300, std::string(40'000, 'x'));
  const Killer killer(pool, 3ms);
  int good = 0;
  for (const auto& outcome :
       pool.try_map([](const std::string& block) { return block + block; }, blocks)) {
    if (outcome) {
      REQUIRE(outcome.value() == std::string(80'000, 'x'));
      ++good;
    }
  }
  CHECK(good > 0);
}

TEST_CASE("eight threads share a pool under a storm of kills") {
  ProcessPool pool(3);
  std::atomic<int> wrong = 0;
  {
    const Killer killer(pool, 2ms);
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        for (int round = 0; round < 30; ++round) {
          const auto outcomes =
              pool.try_map([](int x) { return x + 1; }, std::views::iota(t, t + 50));
          for (const auto& outcome : outcomes) {
            if (outcome && *outcome != t + static_cast<int>(outcome.index()) + 1) ++wrong;
          }
          if (outcomes.size() != 50) ++wrong;
        }
      });
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("a pool may be terminated in the middle of a storm") {
  for (int round = 0; round < 10; ++round) {
    ProcessPool pool(3);
    auto handle = pool.map_async(busy_work, std::views::iota(0, 20'000), {.chunksize = 10});
    {
      const Killer killer(pool, 500us);
      std::this_thread::sleep_for(20ms);
    }
    pool.terminate();
    CHECK(handle.wait(60s));
  }
}
