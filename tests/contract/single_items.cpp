/// Contract: with a chunk size of one each item is on its own, however many of them travel together
/// when they are short.
///
/// Runs in the test; the tasks run in workers of both pools.
#include "contract.hpp"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <thread>

using namespace contract;

namespace {

constexpr int many = 20'000;

/// Trivially copyable, and changed by each call.
struct Counter {
  int calls = 0;
  int operator()(int) { return ++calls; }
};

/// Two items return when both have begun, the second of which is item `words[0]`. Others do so at
/// once.
bool meets_its_other(int item) {
  oracle::count_execution(item);
  const auto second = oracle::page.words[0].load();
  if (item != second && item + 1 != second) return true;
  ++oracle::page.arrived;
  return oracle::arrived(2);
}

int first_of_them_die(int item) {
  oracle::count_execution(item);
  if (item % 5000 == 4000) ::kill(::getpid(), SIGKILL);
  return item;
}

}  // namespace

BOTH_POOLS("each item has the function as it was sent") {
  Pool pool(2);
  CHECK(pool.map(Counter{}, numbers(many), {.chunksize = 1}) == std::vector<int>(many, 1));
  CHECK(drain(pool.imap(Counter{5}, numbers(many))) == std::vector<int>(many, 6));
}

BOTH_POOLS("an item may wait for the next one to begin, wherever it is") {
  Pool pool(2);
  for (const int second : {many / 2, many / 2 + 1, many - 1}) {
    const oracle::Fresh fresh;
    oracle::page.words[0] = second;
    CHECK(pool.map(meets_its_other, numbers(many), {.chunksize = 1}) ==
          std::vector<bool>(many, true));
    CHECK(oracle::executed(many) == many);
  }
}

BOTH_POOLS("an item of an imap may wait for the next one to begin") {
  Pool pool(2);
  const oracle::Fresh fresh;
  oracle::page.words[0] = many / 2;
  CHECK(drain(pool.imap(meets_its_other, numbers(many))) == std::vector<bool>(many, true));
  CHECK(oracle::executed(many) == many);
}

BOTH_POOLS("an item may wait for the next one while nobody takes results") {
  Pool pool(2);
  constexpr int window = 64;
  const auto one_waits = [](int item) {
    oracle::count_execution(item);
    return item != window || oracle::eventually([] { return oracle::executions(window + 1) != 0; });
  };
  for (int round = 0; round < 10; ++round) {
    const oracle::Fresh fresh;
    auto results = pool.imap(one_waits, numbers(2 * window), {.buffersize = window});
    CHECK(oracle::eventually([] { return oracle::executed(window) == window; }));
    std::this_thread::sleep_for(5ms);  // all of the pool sleeps
    for (int taken = 0; taken < window / 4; ++taken) CHECK(results.next() == true);
    // Now there is room for more, and the one that waits is the first of them.
    CHECK(oracle::eventually([] { return oracle::executions(window + 1) != 0; }));
    CHECK(drain(std::move(results)) == std::vector<bool>(2 * window - window / 4, true));
  }
}

BOTH_POOLS("items that become long are shared by all workers") {
  Pool pool(4);
  const oracle::Fresh fresh;
  // Long ones after so many short ones that they are taken for short; all wait for all.
  const auto waits = [](int item) {
    if (item < many - 4) return true;
    ++oracle::page.arrived;
    return oracle::arrived(4);
  };
  CHECK(pool.map(waits, numbers(many), {.chunksize = 1}) == std::vector<bool>(many, true));
}

TEST_CASE("of short items that travel together only those that crash are lost") {
  ProcessPool pool(2);
  const oracle::Fresh fresh;
  const auto outcomes = pool.try_map(first_of_them_die, numbers(many), {.chunksize = 1});
  REQUIRE(outcomes.size() == many);
  for (int item = 0; item < many; ++item) {
    const auto& outcome = outcomes[static_cast<std::size_t>(item)];
    if (item % 5000 == 4000) {
      CHECK_THROWS_AS((void)outcome.value(), libpool::WorkerCrashed);
    } else if (!outcome || *outcome != item) {
      FAIL_CHECK("item " << item);
    }
  }
  CHECK(oracle::executed(many) == many);
  CHECK(pool.stats().crashed == 4);
}

TEST_CASE("a worker that the system stops for a while is not taken for a broken one") {
  ProcessPool pool(2, {.bundle_time = 2us});
  const auto workers = pool.stats().workers;
  std::atomic<bool> over{false};
  std::thread stopper([&] {
    const auto end = std::chrono::steady_clock::now() + 1s;
    for (unsigned round = 0; std::chrono::steady_clock::now() < end; ++round) {
      const pid_t worker = workers[round % 2].pid;
      ::kill(worker, SIGSTOP);
      std::this_thread::sleep_for(400us);
      ::kill(worker, SIGCONT);
      std::this_thread::sleep_for(std::chrono::microseconds{round * 37 % 300});
    }
    over = true;
  });
  bool right = true;
  while (!over) right = pool.map(square, numbers(5000), {.chunksize = 1}) == squares(5000) && right;
  stopper.join();
  CHECK(right);
  CHECK(pool.stats().workers_lost == 0);
}

TEST_CASE("what short items print is out before their outcomes are") {
  std::FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  ProcessPool pool(2, {.initializer = [file] { ::dup2(::fileno(file), STDOUT_FILENO); }});
  const auto says = [](int item) {
    std::printf("%07d\n", item);
    if (item % 5000 == 4000) ::kill(::getpid(), SIGKILL);
    return item;
  };
  int succeeded = 0;
  for (const auto& outcome : pool.try_map(says, numbers(many), {.chunksize = 1})) {
    if (outcome) ++succeeded;
  }
  CHECK(succeeded == many - 4);
  CHECK(::lseek(::fileno(file), 0, SEEK_END) == 8 * succeeded);
  std::fclose(file);
}

BOTH_POOLS("what short items throw is theirs alone") {
  Pool pool(2);
  const auto outcomes = pool.try_map(throw_if_odd, numbers(many), {.chunksize = 1});
  int right = 0;
  for (int item = 0; item < many; ++item) {
    right += outcomes[static_cast<std::size_t>(item)].has_value() == (item % 2 == 0) ? 1 : 0;
  }
  CHECK(right == many);
}

TEST_CASE("a worker of short items retires after so many items") {
  ProcessPool pool(2, {.max_tasks_per_child = 1500});
  CHECK(pool.map(square, numbers(many), {.chunksize = 1}) == squares(many));
  CHECK(pool.stats().workers_spawned >= 2 + many / 1500 - 2);
  CHECK(pool.stats().workers_lost == 0);
}
