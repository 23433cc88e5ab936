/// Contract: `stats()`, `this_worker`.
///
/// Runs in the test; the tasks run in workers of both pools.
#include "contract.hpp"

#include <algorithm>
#include <set>
#include <thread>

using namespace contract;

BOTH_POOLS("a new pool has counted nothing but its workers") {
  Pool pool(3);
  const auto stats = pool.stats();
  CHECK(stats.submitted == 0);
  CHECK(stats.succeeded == 0);
  CHECK(stats.failed == 0);
  CHECK(stats.crashed == 0);
  CHECK(stats.timed_out == 0);
  CHECK(stats.cancelled == 0);
  CHECK(stats.retried == 0);
  CHECK(stats.workers_lost == 0);
  CHECK(stats.queued == 0);
  CHECK(stats.running == 0);
}

BOTH_POOLS("stats names one worker for each of size") {
  Pool pool(3);
  pool.map(square, numbers(100));
  const auto names_three = [&] {
    std::set<pid_t> pids;
    for (const auto& worker : pool.stats().workers) pids.insert(worker.pid);
    return pids.size() == 3 && !pids.contains(0);
  };
  CHECK(oracle::eventually(names_three));
  CHECK(oracle::eventually([&] { return pool.stats().workers_spawned == 3; }));
}

BOTH_POOLS("stats counts what was submitted and what succeeded") {
  Pool pool(2);
  pool.map(square, numbers(100));
  pool.apply(square, 1);
  pool.apply_async(square, 1).wait();
  drain(pool.imap(square, numbers(10)));
  const auto stats = pool.stats();
  CHECK(stats.submitted == 112);
  CHECK(stats.succeeded == 112);
  CHECK(stats.queued == 0);
  CHECK(stats.running == 0);
}

BOTH_POOLS("stats counts items whose function threw") {
  Pool pool(2);
  static_cast<void>(pool.try_map(throw_if_odd, numbers(10)));
  const auto stats = pool.stats();
  CHECK(stats.failed == 5);
  CHECK(stats.succeeded == 5);
  CHECK(stats.submitted == 10);
}

BOTH_POOLS("stats counts items that timed out") {
  Pool pool(1);
  oracle::Fresh fresh;
  static_cast<void>(pool.try_map(wait_at_gate, numbers(3), {.chunksize = 1, .timeout = 10ms}));
  const auto stats = pool.stats();
  CHECK(stats.timed_out == 3);
  CHECK(stats.succeeded == 0);
}

BOTH_POOLS("stats counts items that were cancelled") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto running = pool.apply_async(wait_at_gate, 0);
  REQUIRE(oracle::arrived(1));
  auto queued = pool.map_async(square, numbers(5));
  REQUIRE(oracle::eventually([&] { return pool.stats().submitted == 6; }));
  CHECK(queued.cancel());
  CHECK(pool.stats().cancelled == 5);
}

BOTH_POOLS("stats tells what is queued and what runs") {
  Pool pool(1);
  oracle::Fresh fresh;
  std::vector<libpool::AsyncResult<int>> handles;
  for (int i = 0; i < 5; ++i) handles.push_back(pool.apply_async(wait_at_gate, i));
  REQUIRE(oracle::arrived(1));
  CHECK(oracle::eventually([&] { return pool.stats().running == 1 && pool.stats().queued == 4; }));
  oracle::Fresh::open_gate();
  for (auto& handle : handles) handle.wait();
  CHECK(oracle::eventually([&] { return pool.stats().running == 0 && pool.stats().queued == 0; }));
}

TEST_CASE("stats counts crashes, retries and lost workers") {
  ProcessPool pool(1);
  const auto die = [](int) -> int { ::_exit(3); };
  CHECK_THROWS_AS(pool.map(die, numbers(1), {.retries = 2}), libpool::WorkerCrashed);
  const auto stats = pool.stats();
  CHECK(stats.crashed == 1);
  CHECK(stats.retried == 2);
  CHECK(stats.workers_lost == 3);
}

TEST_CASE("the pids of a ProcessPool are those of its workers") {
  ProcessPool pool(2);
  std::set<pid_t> pids;
  for (const pid_t pid : pool.map([](int) { return ::getpid(); }, numbers(200), {.chunksize = 1}))
    pids.insert(pid);
  const auto stats = pool.stats();
  for (const pid_t pid : pids) {
    CHECK(pid != ::getpid());
    CHECK(std::ranges::count(stats.workers, pid, &libpool::WorkerStats::pid) == 1);
  }
}

TEST_CASE("the pids of a ThreadPool are those of its threads") {
  ThreadPool pool(2);
  const auto thread = pool.apply([] { return static_cast<pid_t>(::gettid()); });
  CHECK(std::ranges::count(pool.stats().workers, thread, &libpool::WorkerStats::pid) == 1);
}

BOTH_POOLS("the workers' tasks add up to the outcomes") {
  Pool pool(3);
  pool.map(square, numbers(500));
  static_cast<void>(pool.try_map(throw_if_odd, numbers(10)));
  std::uint64_t done = 0;
  for (const auto& worker : pool.stats().workers) done += worker.tasks_done;
  CHECK(done == 510);
}

BOTH_POOLS("busy time grows with work") {
  Pool pool(1);
  const auto before = pool.stats().workers;
  pool.apply([] { std::this_thread::sleep_for(20ms); });
  const auto after = pool.stats().workers;
  REQUIRE(after.size() == 1);
  CHECK(after[0].busy_time >= 20ms);
}

BOTH_POOLS("stats can be asked for while the pool works, by any thread") {
  std::atomic<bool> consistent = true;
  Pool pool(2);
  auto handle = pool.map_async(square, numbers(20'000), {.chunksize = 1});
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] {
        while (!handle.ready()) {
          const auto stats = pool.stats();
          const auto ended = stats.succeeded + stats.failed + stats.running + stats.queued;
          if (ended > stats.submitted) consistent = false;
        }
      });
    }
  }
  CHECK(consistent);
  CHECK(handle.get() == squares(20'000));
}

BOTH_POOLS("stats and size can be asked for after the end") {
  Pool pool(2);
  pool.map(square, numbers(10));
  pool.close();
  pool.join();
  CHECK(pool.stats().succeeded == 10);
  CHECK(pool.size() == 2);
  CHECK(pool.stats().workers.empty());
}

TEST_CASE("this_worker is empty outside a worker") {
  CHECK(libpool::this_worker::index() == std::nullopt);
  CHECK(libpool::this_worker::task_index() == std::nullopt);
}

BOTH_POOLS("this_worker::index is below the pool's size") {
  Pool pool(3);
  const auto indices =
      pool.map([](int) { return libpool::this_worker::index(); }, numbers(300), {.chunksize = 1});
  for (const auto& index : indices) {
    REQUIRE(index.has_value());
    CHECK(*index < 3);
  }
}

BOTH_POOLS("workers that run at once have different indices") {
  Pool pool(4);
  oracle::Fresh fresh;
  auto handle = pool.map_async(
      [](int item) {
        static_cast<void>(wait_at_gate(item));
        return libpool::this_worker::index().value();
      },
      numbers(4), {.chunksize = 1});
  REQUIRE(oracle::arrived(4));
  oracle::Fresh::open_gate();
  auto indices = std::move(handle).get();
  std::ranges::sort(indices);
  CHECK(indices == std::vector<std::size_t>{0, 1, 2, 3});
}

BOTH_POOLS("this_worker::task_index is the item's place in its batch") {
  Pool pool(2);
  for (std::size_t chunksize : {1U, 7U, 100U}) {
    const auto indices = pool.map([](int) { return libpool::this_worker::task_index().value(); },
                                  numbers(100), {.chunksize = chunksize});
    for (std::size_t i = 0; i < 100; ++i) REQUIRE(indices[i] == i);
  }
  CHECK(pool.apply([] { return libpool::this_worker::task_index(); }) == std::size_t{0});
}

BOTH_POOLS("this_worker is known in the initializer") {
  oracle::Fresh fresh;
  Pool pool(2, {.initializer = [] {
              if (libpool::this_worker::index().has_value()) ++oracle::page.words[0];
              if (!libpool::this_worker::task_index().has_value()) ++oracle::page.words[1];
            }});
  pool.map(square, numbers(10));
  CHECK(
      oracle::eventually([] { return oracle::page.words[0] == 2 && oracle::page.words[1] == 2; }));
}

BOTH_POOLS("a callback is outside of every worker") {
  std::atomic<bool> outside = false;
  Pool pool(1);
  pool.apply_async(square, std::tuple(1),
                   {.callback =
                        [&](int) {
                          outside =
                              !libpool::this_worker::index() && !libpool::this_worker::task_index();
                        }})
      .wait();
  CHECK(outside);
}
