/// Contract: `cancel()`, item timeouts, and what each pool does with a task that does not end.
///
/// Runs in the test; the tasks run in workers of both pools.
#include "contract.hpp"

#include <atomic>
#include <functional>
#include <thread>

using namespace contract;

namespace {

/// Items divisible by ten wait until the gate opens, the others return at once.
int tenth_waits(int item) {
  oracle::count_execution(item);
  if (item % 10 == 0) oracle::pass_gate();
  return item;
}

/// An argument whose destructor calls what the test says, in the test's own process.
struct CallsWhenDestroyed {
  static inline std::function<void()> call;
  static inline std::atomic<int> calls{0};
  CallsWhenDestroyed() = default;
  CallsWhenDestroyed(const CallsWhenDestroyed&) = default;
  CallsWhenDestroyed& operator=(const CallsWhenDestroyed&) = default;
  ~CallsWhenDestroyed() {
    if (!call) return;
    ++calls;
    call();
  }
  template <class Archive>
  void serialize(Archive&, unsigned) {}
};

}  // namespace

BOTH_POOLS("the destructor of what a task was given may use the pool, however the task ends") {
  Pool pool(1);
  oracle::Fresh fresh;
  const auto take = [](const CallsWhenDestroyed&, int x) { return x; };
  CallsWhenDestroyed::call = [&pool] { static_cast<void>(pool.stats()); };
  CallsWhenDestroyed::calls = 0;
  auto running = pool.apply_async(wait_at_gate, 0);
  REQUIRE(oracle::arrived(1));
  CHECK(pool.apply_async(take, CallsWhenDestroyed(), 1).cancel());
  oracle::Fresh::open_gate();
  CHECK(running.get() == 0);
  for (int i = 0; i < 100; ++i) static_cast<void>(pool.apply_async(take, CallsWhenDestroyed(), i));
  CHECK(pool.apply(take, CallsWhenDestroyed(), 7) == 7);
  pool.close();
  pool.join();
  CHECK(CallsWhenDestroyed::calls >= 102);
  CallsWhenDestroyed::call = nullptr;
}

BOTH_POOLS("cancel drops a task that has not started") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto running = pool.apply_async(wait_at_gate, 0);
  REQUIRE(oracle::arrived(1));
  auto queued = pool.apply_async(count_and_return, 1);
  CHECK(queued.cancel());
  CHECK_THROWS_AS(queued.get(), libpool::TaskCancelled);
  oracle::Fresh::open_gate();
  CHECK(running.get() == 0);
  CHECK(pool.apply(count_and_return, 2) == 2);
  CHECK(oracle::executions(1) == 0);
}

BOTH_POOLS("a cancelled handle is ready and not successful") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto running = pool.apply_async(wait_at_gate, 0);
  REQUIRE(oracle::arrived(1));
  auto queued = pool.apply_async(square, 1);
  REQUIRE(queued.cancel());
  CHECK(queued.wait(60s));
  CHECK_FALSE(queued.successful());
}

BOTH_POOLS("cancel of a finished task is false and changes nothing") {
  Pool pool(1);
  auto handle = pool.apply_async(square, 3);
  handle.wait();
  CHECK_FALSE(handle.cancel());
  CHECK(handle.get() == 9);
}

TEST_CASE("cancel of a running task kills its worker, and a new one takes its place") {
  ProcessPool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async(wait_at_gate, 0);
  REQUIRE(oracle::arrived(1));
  const oracle::Watched worker(pool.stats().workers.at(0).pid);
  CHECK(handle.cancel());
  CHECK_THROWS_AS(handle.get(), libpool::TaskCancelled);
  CHECK(worker.dies());
  CHECK(pool.map(square, numbers(5)) == squares(5));
}

TEST_CASE("cancel of a task in an endless loop ends it") {
  ProcessPool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async(
      [](int) {
        ++oracle::page.arrived;
        while (oracle::page.gate_open == 0) {
        }
        return 0;
      },
      0);
  REQUIRE(oracle::arrived(1));
  CHECK(handle.cancel());
  CHECK(pool.apply(square, 4) == 16);
}

TEST_CASE("cancel of a running task of a ThreadPool is false, and its result comes") {
  ThreadPool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async(wait_at_gate, 5);
  REQUIRE(oracle::arrived(1));
  CHECK_FALSE(handle.cancel());
  oracle::Fresh::open_gate();
  CHECK(handle.get() == 5);
}

BOTH_POOLS("cancel of a batch is true, drops what is queued, and gives no result of what runs") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.map_async(wait_at_gate, numbers(100), {.chunksize = 1});
  REQUIRE(oracle::arrived(1));
  CHECK(handle.cancel());
  CHECK_THROWS_AS(handle.get(), libpool::TaskCancelled);
  oracle::Fresh::open_gate();
  CHECK(pool.map(square, numbers(5)) == squares(5));
  CHECK(oracle::executed(100) <= 2);
}

BOTH_POOLS("cancel of a finished batch is false and its results stay") {
  Pool pool(1);
  auto handle = pool.map_async(square, numbers(5));
  handle.wait();
  CHECK_FALSE(handle.cancel());
  CHECK(handle.get() == squares(5));
}

BOTH_POOLS("of many threads that cancel one task, exactly one hears that it did") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto running = pool.apply_async(wait_at_gate, 0);
  REQUIRE(oracle::arrived(1));
  auto handle = pool.apply_async(square, 3);
  std::atomic<int> told = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] { told += handle.cancel() ? 1 : 0; });
    }
  }
  CHECK(told == 1);
  CHECK_THROWS_AS(handle.get(), libpool::TaskCancelled);
}

BOTH_POOLS("cancel of one job leaves the other jobs alone") {
  Pool pool(2);
  oracle::Fresh fresh;
  auto blocked = pool.map_async(wait_at_gate, numbers(50), {.chunksize = 1});
  auto other = pool.map_async(square, numbers(500), {.chunksize = 1});
  CHECK(blocked.cancel());
  oracle::Fresh::open_gate();
  CHECK(other.get() == squares(500));
}

BOTH_POOLS("handles cancelled while their tasks start and finish have one outcome each") {
  Pool pool(2);
  for (int round = 0; round < 200; ++round) {
    auto handle = pool.apply_async(square, round);
    const bool cancelled = handle.cancel();
    if (cancelled) {
      CHECK_THROWS_AS(handle.get(), libpool::TaskCancelled);
    } else {
      CHECK(handle.get() == round * round);
    }
  }
}

BOTH_POOLS("an item that passes its timeout becomes a TaskTimeout with its index") {
  Pool pool(2);
  oracle::Fresh fresh;
  const auto error = caught<libpool::TaskTimeout>([&] {
    pool.map(tenth_waits, std::vector<int>{1, 2, 3, 10, 4}, {.chunksize = 1, .timeout = 50ms});
  });
  REQUIRE(error.has_value());
  CHECK(error->index() == 3);
}

BOTH_POOLS("a timeout of one item of a chunk leaves the chunk's other items their results") {
  Pool pool(2);
  oracle::Fresh fresh;
  std::vector<int> items = numbers(30);
  items[0] = 1;
  items[20] = 21;
  const auto outcomes = pool.try_map(tenth_waits, items, {.chunksize = 30, .timeout = 200ms});
  REQUIRE(outcomes.size() == 30);
  for (std::size_t i = 0; i < 30; ++i) {
    CAPTURE(i);
    if (i == 10) {
      CHECK_THROWS_AS(outcomes[i].value(), libpool::TaskTimeout);
    } else {
      CHECK(outcomes[i].value() == items[i]);
    }
  }
  CHECK(oracle::executions(10) == 1);
}

BOTH_POOLS("the timeout is per item, not per chunk") {
  Pool pool(1);
  const auto slow = [](int x) {
    std::this_thread::sleep_for(30ms);
    return x;
  };
  CHECK(pool.map(slow, numbers(30), {.chunksize = 30, .timeout = 800ms}) == numbers(30));
}

BOTH_POOLS("the time that an item waits in the queue does not count") {
  Pool pool(1);
  const auto slow = [](int x) {
    std::this_thread::sleep_for(20ms);
    return x;
  };
  CHECK(pool.map(slow, numbers(50), {.chunksize = 1, .timeout = 900ms}) == numbers(50));
}

BOTH_POOLS("apply_async with a timeout gives TaskTimeout through the handle") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async(wait_at_gate, std::tuple(7), {.timeout = 30ms});
  const auto error = caught<libpool::TaskTimeout>([&] { handle.get(); });
  REQUIRE(error.has_value());
  CHECK(error->index() == 0);
}

BOTH_POOLS("a pool whose only worker has timed out runs other tasks") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async(wait_at_gate, std::tuple(7), {.timeout = 30ms});
  CHECK_THROWS_AS(handle.get(), libpool::TaskTimeout);
  CHECK(pool.map(square, numbers(10)) == squares(10));
}

BOTH_POOLS("many items may time out, one after the other") {
  Pool pool(2);
  oracle::Fresh fresh;
  const auto outcomes = pool.try_map(wait_at_gate, numbers(20), {.chunksize = 5, .timeout = 20ms});
  for (const auto& outcome : outcomes) CHECK_THROWS_AS(outcome.value(), libpool::TaskTimeout);
  CHECK(oracle::executed(20) == 20);
}

BOTH_POOLS("imap gives a timed-out item in its place and goes on") {
  Pool pool(2);
  oracle::Fresh fresh;
  auto results = pool.imap(tenth_waits, std::vector<int>{1, 10, 2}, {.timeout = 50ms});
  CHECK(results.next() == 1);
  CHECK_THROWS_AS(results.next(), libpool::TaskTimeout);
  CHECK(results.next() == 2);
  CHECK(results.next() == std::nullopt);
}

TEST_CASE("a timeout kills the worker of an item in an endless loop, and none else") {
  ProcessPool pool(2);
  oracle::Fresh fresh;
  auto waiting = pool.apply_async(wait_at_gate, 0);
  REQUIRE(oracle::arrived(1));
  auto endless = pool.apply_async(
      [](int) {
        while (oracle::page.gate_open == 0) {
        }
        return 0;
      },
      std::tuple(1), {.timeout = 50ms});
  CHECK_THROWS_AS(endless.get(), libpool::TaskTimeout);
  oracle::Fresh::open_gate();
  CHECK(waiting.get() == 0);
}

TEST_CASE("a thread that runs past its timeout runs on, and join waits for it") {
  ThreadPool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async(
      [](int item) {
        oracle::pass_gate();
        oracle::page.words[0] = 1;
        return item;
      },
      std::tuple(0), {.timeout = 20ms});
  CHECK_THROWS_AS(handle.get(), libpool::TaskTimeout);
  CHECK(oracle::page.words[0] == 0);
  oracle::Fresh::open_gate();
  pool.close();
  pool.join();
  CHECK(oracle::page.words[0] == 1);
}

BOTH_POOLS("an item timeout takes any duration") {
  Pool pool(1);
  CHECK(pool.map(square, numbers(3), {.timeout = std::chrono::hours::max()}) == squares(3));
  CHECK(pool.map(square, numbers(3), {.timeout = std::chrono::hours(24 * 365)}) == squares(3));
  CHECK(
      pool.apply_async(square, std::tuple(2), {.timeout = std::chrono::nanoseconds::max()}).get() ==
      4);
}

BOTH_POOLS("a zero item timeout means none") {
  Pool pool(1);
  const auto slow = [](int x) {
    std::this_thread::sleep_for(5ms);
    return x;
  };
  CHECK(pool.map(slow, numbers(3), {.timeout = 0ns}) == numbers(3));
}
