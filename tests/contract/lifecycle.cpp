/// Contract: `close`, `join`, `terminate`, the destructor, and what each leaves.
///
/// Runs in the test; the tasks run in workers of both pools.
#include "contract.hpp"

#include <thread>
#include <type_traits>

using namespace contract;

namespace {

/// Every call that submits work throws `PoolClosed`.
template <class Pool>
void check_refuses_work(Pool& pool) {
  using libpool::PoolClosed;
  const std::vector<std::tuple<int, int>> pairs{{1, 2}};
  CHECK_THROWS_AS(pool.map(square, numbers(3)), PoolClosed);
  CHECK_THROWS_AS(pool.map(square, std::vector<int>{}), PoolClosed);
  CHECK_THROWS_AS(pool.starmap(add, pairs), PoolClosed);
  CHECK_THROWS_AS(pool.apply(square, 1), PoolClosed);
  CHECK_THROWS_AS(pool.apply_async(square, 1), PoolClosed);
  CHECK_THROWS_AS(pool.map_async(square, numbers(3)), PoolClosed);
  CHECK_THROWS_AS(pool.map_async(square, std::vector<int>{}), PoolClosed);
  CHECK_THROWS_AS(pool.starmap_async(add, pairs), PoolClosed);
  CHECK_THROWS_AS(pool.imap(square, numbers(3)), PoolClosed);
  CHECK_THROWS_AS(pool.imap_unordered(square, numbers(3)), PoolClosed);
  CHECK_THROWS_AS(pool.try_map(square, numbers(3)), PoolClosed);
  CHECK_THROWS_AS(pool.try_starmap(add, pairs), PoolClosed);
  CHECK_THROWS_AS(pool.try_imap(square, numbers(3)), PoolClosed);
  CHECK_THROWS_AS(pool.try_imap_unordered(square, numbers(3)), PoolClosed);
}

}  // namespace

static_assert(!std::is_copy_constructible_v<ProcessPool> &&
              !std::is_move_constructible_v<ProcessPool>);
static_assert(!std::is_copy_assignable_v<ProcessPool> && !std::is_move_assignable_v<ProcessPool>);
static_assert(!std::is_copy_constructible_v<ThreadPool> &&
              !std::is_move_constructible_v<ThreadPool>);
static_assert(!std::is_copy_assignable_v<ThreadPool> && !std::is_move_assignable_v<ThreadPool>);
static_assert(!std::is_convertible_v<std::size_t, ProcessPool>, "the constructor is explicit");
static_assert(!std::is_convertible_v<std::size_t, ThreadPool>, "the constructor is explicit");

BOTH_POOLS("a pool that never ran anything ends") { Pool pool(3); }

BOTH_POOLS("submitting to a closed pool throws PoolClosed, whatever the call") {
  Pool pool(1);
  pool.close();
  check_refuses_work(pool);
  pool.join();
  check_refuses_work(pool);
}

BOTH_POOLS("submitting to a terminated pool throws PoolClosed, whatever the call") {
  Pool pool(1);
  pool.terminate();
  check_refuses_work(pool);
  pool.join();
  check_refuses_work(pool);
}

BOTH_POOLS("all that was submitted before close still runs, and join waits for it") {
  oracle::Fresh fresh;
  Pool pool(2);
  auto handle = pool.map_async(count_and_return, numbers(1000), {.chunksize = 1});
  auto one = pool.apply_async(square, 7);
  pool.close();
  pool.join();
  CHECK(oracle::executed(1000) == 1000);
  CHECK(handle.ready());
  CHECK(handle.get() == numbers(1000));
  CHECK(one.get() == 49);
}

BOTH_POOLS("join on an open pool throws a logic error and harms nothing") {
  Pool pool(1);
  CHECK_THROWS_AS(pool.join(), std::logic_error);
  CHECK(pool.apply(square, 2) == 4);
}

BOTH_POOLS("close, terminate and join can be repeated") {
  Pool pool(2);
  pool.close();
  pool.close();
  pool.join();
  pool.join();
  pool.terminate();
  pool.terminate();
  pool.close();
  pool.join();
}

BOTH_POOLS("terminate after close ends what runs") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.map_async(wait_at_gate, numbers(10));
  REQUIRE(oracle::arrived(1));
  pool.close();
  pool.terminate();
  CHECK_THROWS_AS(handle.get(), libpool::PoolTerminated);
}

BOTH_POOLS("join may follow terminate without close") {
  Pool pool(1);
  pool.terminate();
  CHECK_NOTHROW(pool.join());
}

BOTH_POOLS("lifecycle calls may be raced") {
  for (int round = 0; round < 20; ++round) {
    Pool pool(2);
    auto handle = pool.map_async(square, numbers(100));
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < 6; ++i) {
        threads.emplace_back([&pool, i] {
          if (i % 3 == 0) pool.close();
          if (i % 3 == 1) pool.terminate();
          try {
            pool.join();
          } catch (const std::logic_error&) {
          }
        });
      }
    }
    REQUIRE(handle.wait(60s));
  }
}

BOTH_POOLS("submissions raced with close either run or throw PoolClosed") {
  oracle::Fresh fresh;
  std::atomic<int> accepted = 0;
  {
    Pool pool(2);
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        try {
          for (int k = 0; k < 10'000; ++k) {
            static_cast<void>(pool.apply_async(count_and_return, i * 10'000 + k));
            ++accepted;
          }
        } catch (const libpool::PoolClosed&) {
        }
      });
    }
    CHECK(oracle::eventually([&] { return accepted > 100; }));
    pool.close();
    threads.clear();
    pool.join();
  }
  CHECK(oracle::executed(40'000) == accepted);
}

BOTH_POOLS("terminate wakes every thread that waits in get") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto one = pool.apply_async(wait_at_gate, 1);
  auto many = pool.map_async(wait_at_gate, numbers(10));
  std::atomic<int> woken = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&, i] {
        const auto error = caught<libpool::PoolTerminated>([&] {
          if (i % 2 == 0) static_cast<void>(one.get());
          if (i % 2 == 1) static_cast<void>(many.get());
        });
        woken += error ? 1 : 0;
      });
    }
    REQUIRE(oracle::arrived(1));
    std::this_thread::sleep_for(10ms);
    pool.terminate();
  }
  CHECK(woken == 8);
}

BOTH_POOLS("terminate wakes threads blocked in map and in apply") {
  Pool pool(1);
  oracle::Fresh fresh;
  std::atomic<int> woken = 0;
  {
    std::vector<std::jthread> threads;
    threads.emplace_back([&] {
      woken += caught<libpool::PoolTerminated>([&] { pool.map(wait_at_gate, numbers(5)); }) ? 1 : 0;
    });
    threads.emplace_back([&] {
      woken += caught<libpool::PoolTerminated>([&] { pool.apply(wait_at_gate, 9); }) ? 1 : 0;
    });
    REQUIRE(oracle::arrived(1));
    REQUIRE(oracle::eventually([&] { return pool.stats().submitted == 6; }));
    pool.terminate();
  }
  CHECK(woken == 2);
}

BOTH_POOLS("maps whose inputs block may go on when their pool has ended") {
  constexpr int maps = 40;
  for (int round = 0; round < 10; ++round) {
    Pool pool(1);
    std::atomic<bool> open = false;
    std::atomic<int> blocked = 0;
    std::atomic<int> woken = 0;
    std::vector<std::jthread> threads;
    for (int i = 0; i < maps; ++i) {
      threads.emplace_back([&] {
        auto slow = std::views::iota(0, 5) | std::views::transform([&](int x) {
                      ++blocked;
                      CHECK(oracle::eventually([&] { return open.load(); }));
                      return x;
                    });
        woken += caught<libpool::PoolTerminated>([&] { pool.map(square, slow); }) ? 1 : 0;
      });
    }
    REQUIRE(oracle::eventually([&] { return blocked >= maps; }));
    pool.terminate();
    std::jthread opener([&] { open = true; });
    pool.join();
    threads.clear();
    CHECK(woken == maps);
  }
}

BOTH_POOLS("terminate drops what is queued") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto running = pool.apply_async(wait_at_gate, 0);
  REQUIRE(oracle::arrived(1));
  auto queued = pool.map_async(count_and_return, numbers(1000));
  pool.terminate();
  CHECK_THROWS_AS(queued.get(), libpool::PoolTerminated);
  oracle::Fresh::open_gate();
  pool.join();
  CHECK(oracle::executed(1000, 0) == 999);
}

BOTH_POOLS("after terminate a finished handle keeps its result") {
  Pool pool(1);
  auto handle = pool.apply_async(square, 3);
  handle.wait();
  pool.terminate();
  CHECK(handle.get() == 9);
}

TEST_CASE("terminate kills processes that run endless tasks") {
  ProcessPool pool(2);
  oracle::Fresh fresh;
  auto handle = pool.map_async(
      [](int) {
        ++oracle::page.arrived;
        while (oracle::page.gate_open == 0) {
        }
        return 0;
      },
      numbers(2), {.chunksize = 1});
  REQUIRE(oracle::arrived(2));
  std::vector<oracle::Watched> workers;
  for (const auto& worker : pool.stats().workers) workers.emplace_back(worker.pid);
  pool.terminate();
  CHECK_THROWS_AS(handle.get(), libpool::PoolTerminated);
  pool.join();
  REQUIRE(workers.size() == 2);
  for (const auto& worker : workers) CHECK(worker.dead());
}

TEST_CASE("join of a terminated ThreadPool waits for what runs") {
  ThreadPool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async(
      [](int) {
        oracle::pass_gate();
        oracle::page.words[0] = 1;
        return 0;
      },
      0);
  REQUIRE(oracle::arrived(1));
  pool.terminate();
  CHECK_THROWS_AS(handle.get(), libpool::PoolTerminated);
  CHECK(oracle::page.words[0] == 0);
  oracle::Fresh::open_gate();
  pool.join();
  CHECK(oracle::page.words[0] == 1);
}

TEST_CASE("after join no worker process is left") {
  ProcessPool pool(3);
  pool.map(square, numbers(10));
  std::vector<oracle::Watched> processes;
  for (const auto& worker : pool.stats().workers) processes.emplace_back(worker.pid);
  REQUIRE(processes.size() == 3);
  processes.emplace_back(oracle::parent_of(pool.stats().workers[0].pid));
  for (const auto& process : processes) REQUIRE(process.found());
  pool.close();
  pool.join();
  for (const auto& process : processes) CHECK(process.dead());
}

TEST_CASE("the destructor ends endless tasks, and no process is left") {
  std::vector<oracle::Watched> workers;
  std::optional<libpool::AsyncResult<int>> handle;
  {
    ProcessPool pool(2);
    oracle::Fresh fresh;
    handle = pool.apply_async(wait_at_gate, 1);
    REQUIRE(oracle::arrived(1));
    for (const auto& worker : pool.stats().workers) workers.emplace_back(worker.pid);
    oracle::page.gate_open = 0;
  }
  for (const auto& worker : workers) CHECK(worker.dead());
  CHECK(handle->ready());
}

BOTH_POOLS("pools may be made and ended many times") {
  for (int i = 0; i < 50; ++i) {
    Pool pool(2);
    REQUIRE(pool.apply(square, i) == i * i);
  }
}

BOTH_POOLS("a pool may be made and used in a thread that has ended") {
  std::optional<Pool> pool;
  std::jthread([&] { pool.emplace(2U); }).join();
  std::jthread([&] { pool->map(square, numbers(10)); }).join();
  CHECK(pool->map(square, numbers(10)) == squares(10));
  CHECK(pool->apply_async(square, 3).get() == 9);
}

BOTH_POOLS("a pool may end in another thread than it was made in") {
  auto pool = std::make_unique<Pool>(2U);
  auto handle = pool->apply_async(square, 3);
  handle.wait();
  std::jthread([owned = std::move(pool)]() mutable { owned.reset(); }).join();
  CHECK(handle.get() == 9);
}

BOTH_POOLS("a pool may end while an exception unwinds") {
  const auto thrown = caught<InputBroke>([] {
    Pool pool(2);
    auto handle = pool.map_async(square, numbers(1000));
    throw InputBroke();
  });
  CHECK(thrown.has_value());
}
