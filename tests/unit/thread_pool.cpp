/// Facts about ThreadPool that ProcessPool does not share: threads, sharing, what cannot be killed.
#include <libpool/thread_pool.hpp>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <libpool/errors.hpp>
#include <libpool/this_worker.hpp>
#include <libpool/worker_pool.hpp>
#include <tests/support/eventually.hpp>

using namespace std::chrono_literals;
using libpool::ThreadPool;
using libpool::testing::eventually;

static_assert(libpool::WorkerPool<ThreadPool>);

namespace {

int square(int x) { return x * x; }

std::vector<int> numbers(int count) {
  std::vector<int> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), 0);
  return values;
}

/// A gate that tasks wait at.
struct Gate {
  std::atomic<bool> open{false};
  std::atomic<int> waiting{0};
  void pass() {
    ++waiting;
    open.wait(false);
  }
  void open_up() {
    open = true;
    open.notify_all();
  }
  ~Gate() { open_up(); }
};

struct Own {
  int number;
  [[nodiscard]] int read() const { return number; }
};

}  // namespace

TEST_CASE("any callable will do") {
  ThreadPool pool(2);
  int captured = 3;
  const std::function<int(int)> erased = [&](int x) { return x + captured; };
  CHECK(pool.apply(erased, 4) == 7);
  CHECK(pool.apply(&Own::read, Own{5}) == 5);
  auto move_only = [held = std::make_unique<int>(6)] { return *held; };
  CHECK(pool.apply(std::move(move_only)) == 6);
}

TEST_CASE("the exception is the original object") {
  ThreadPool pool(1);
  const Own* thrown = nullptr;
  auto handle = pool.apply_async([&]() -> int {
    try {
      throw Own{7};
    } catch (Own& own) {
      thrown = &own;
      throw;
    }
  });
  try {
    handle.get();
    FAIL("nothing was thrown");
  } catch (const Own& own) {
    CHECK(&own == thrown);
  }
}

TEST_CASE("a constant function is shared, a mutable one is copied for each chunk") {
  ThreadPool pool(2);
  CHECK(pool.map([n = 0](int) mutable { return ++n; }, numbers(6), {.chunksize = 3}) ==
        std::vector<int>{1, 2, 3, 1, 2, 3});
  struct Counting {
    std::atomic<int>* copies;
    explicit Counting(std::atomic<int>& count) : copies(&count) {}
    Counting(const Counting& other) : copies(other.copies) { ++*copies; }
    int operator()(int x) const { return x; }
  };
  std::atomic<int> copies{0};
  const Counting constant(copies);
  pool.map(constant, numbers(100), {.chunksize = 1});
  CHECK(copies < 10);
}

TEST_CASE("elements of an own container are given where they are") {
  ThreadPool pool(2);
  std::vector<std::unique_ptr<int>> values(100);
  const auto* first = values.data();
  std::atomic<int> inside{0};
  pool.map(
      [&](std::unique_ptr<int>&& place) {
        if (&place >= first && &place < first + 100) ++inside;
      },
      std::move(values));
  CHECK(inside == 100);
}

TEST_CASE("a blocking call does not leave tasks with the caller's elements behind") {
  Gate gate;
  ThreadPool pool(1);
  std::atomic<std::size_t> length{0};
  std::jthread ends([&] {
    REQUIRE(eventually([&] { return gate.waiting == 1; }));
    pool.terminate();
  });
  {
    const std::vector<std::string> texts{std::string(1000, 'x')};
    CHECK_THROWS_AS(pool.map(
                        [&](const std::string& text) {
                          gate.pass();
                          length = text.size();
                        },
                        texts),
                    libpool::PoolTerminated);
  }
  gate.open_up();
  pool.join();
  CHECK(length == 1000);
}

TEST_CASE("a timeout decides the outcome while the thread runs on and another takes its place") {
  Gate gate;
  ThreadPool pool(1);
  std::atomic<bool> ran_on{false};
  const auto outcomes = pool.try_map(
      [&](int item) {
        if (item == 1) {
          gate.pass();
          ran_on = true;
        }
        return *libpool::this_worker::index();
      },
      numbers(4), {.chunksize = 4, .timeout = 50ms});
  CHECK(*outcomes[0] == 0);
  CHECK_THROWS_AS(static_cast<void>(outcomes[1].value()), libpool::TaskTimeout);
  CHECK(*outcomes[2] == 0);
  CHECK(*outcomes[3] == 0);
  CHECK_FALSE(ran_on);
  CHECK(pool.apply(square, 3) == 9);
  CHECK(pool.stats().timed_out == 1);
  CHECK(pool.stats().workers_spawned == 2);
  gate.open_up();
  pool.close();
  pool.join();
  CHECK(ran_on);
}

TEST_CASE("cancelling is refused to one running call, and discards what runs of a batch") {
  Gate gate;
  ThreadPool pool(1);
  auto running = pool.apply_async([&] { gate.pass(); });
  auto queued = pool.apply_async(square, 2);
  auto batch = pool.map_async(square, numbers(10));
  REQUIRE(eventually([&] { return gate.waiting == 1; }));
  CHECK_FALSE(running.cancel());
  CHECK(queued.cancel());
  CHECK_FALSE(queued.cancel());
  CHECK(batch.cancel());
  CHECK_THROWS_AS(queued.get(), libpool::TaskCancelled);
  CHECK_THROWS_AS(batch.get(), libpool::TaskCancelled);
  gate.open_up();
  running.get();
  pool.close();
  pool.join();
  const auto stats = pool.stats();
  CHECK(stats.queued == 0);
  CHECK(stats.running == 0);
  CHECK(stats.succeeded == 1);
  CHECK(stats.submitted == stats.succeeded + stats.cancelled);
}

TEST_CASE("counts are right when a call returns") {
  ThreadPool pool(3);
  for (int round = 1; round <= 50; ++round) {
    pool.map(square, numbers(20));
    const auto stats = pool.stats();
    REQUIRE(stats.succeeded == static_cast<std::uint64_t>(20 * round));
    REQUIRE(stats.running == 0);
    REQUIRE(stats.queued == 0);
  }
  CHECK(pool.stats().workers.size() == 3);
}

TEST_CASE("a fresh thread takes the place of one that has done its tasks") {
  ThreadPool pool(2, {.max_tasks_per_child = 3});
  std::mutex mutex;
  std::map<std::thread::id, int> tasks;
  pool.map(
      [&](int) {
        thread_local char fresh = 0;
        static_cast<void>(fresh);
        std::lock_guard lock(mutex);
        ++tasks[std::this_thread::get_id()];
      },
      numbers(30), {.chunksize = 10});
  CHECK(pool.stats().workers_spawned >= 10);
  CHECK(pool.stats().workers.size() == 2);
}

TEST_CASE("initializers do not share the state of a function object") {
  std::atomic<int> highest{0};
  ThreadPool pool(3, {.initializer = [&highest, calls = 0]() mutable {
                    if (++calls > highest) highest = calls;
                  }});
  pool.map(square, numbers(100));
  CHECK(highest == 1);
}

TEST_CASE(
    "an initializer that fails now and then delays the pool, and one that always fails breaks it") {
  std::atomic<int> calls{0};
  ThreadPool patient(1, {.initializer = [&] {
                       if (++calls < 5) throw std::runtime_error("not yet");
                     }});
  CHECK(patient.apply(square, 3) == 9);
  CHECK(patient.stats().workers_lost == 4);

  ThreadPool broken(1, {.initializer = [] { throw std::runtime_error("never"); }});
  auto handle = broken.apply_async(square, 3);
  try {
    handle.get();
    FAIL("nothing was thrown");
  } catch (const libpool::PoolBroken& error) {
    CHECK_THROWS_WITH(std::rethrow_exception(error.cause()), "never");
  }
  CHECK_THROWS_AS(broken.map(square, numbers(3)), libpool::PoolBroken);
}

TEST_CASE("a task knows its worker and its item, and other threads know of none") {
  ThreadPool pool(2);
  const auto places =
      pool.map([](int) { return *libpool::this_worker::task_index(); }, numbers(50'000));
  CHECK(std::ranges::equal(places, std::views::iota(std::size_t{0}, places.size())));
  CHECK(pool.apply([] { return *libpool::this_worker::index() < 2; }));
  CHECK(libpool::this_worker::index() == std::nullopt);
  CHECK(libpool::this_worker::task_index() == std::nullopt);
}

TEST_CASE("no item of a cancelled batch begins, however short those before it were") {
  constexpr int count = 100'000;
  constexpr int held_up = 50'000;
  Gate gate;
  std::atomic<int> ran{0};
  ThreadPool pool(1);
  auto handle = pool.map_async(
      [&](int i) {
        if (i == held_up) gate.pass();
        ++ran;
        return i;
      },
      numbers(count), {.chunksize = count});
  REQUIRE(eventually([&] { return gate.waiting == 1; }));
  CHECK(handle.cancel());
  gate.open_up();
  CHECK(eventually([&] { return pool.stats().cancelled == count - held_up; }));
  CHECK(ran == held_up + 1);
  CHECK(pool.stats().succeeded == held_up);  // the last one came too late
}

TEST_CASE("one item among many throws, and is the only one that fails") {
  constexpr int count = 100'000;
  constexpr int thrower = 50'003;
  ThreadPool pool(1);
  const auto throws_once = [](int i) {
    if (i == thrower) throw std::out_of_range(std::to_string(i));
    return i;
  };
  CHECK_THROWS_WITH_AS(pool.map(throws_once, numbers(count)), "50003", std::out_of_range);
  CHECK(pool.stats().failed == 1);
  CHECK(pool.stats().succeeded == count - 1);
}

TEST_CASE("a slow input of one job delays no other") {
  Gate gate;
  ThreadPool pool(1);
  auto slow = std::views::iota(0, 3) | std::views::transform([&](int i) {
                gate.pass();
                return i;
              });
  auto blocked = pool.map_async(square, slow);
  REQUIRE(eventually([&] { return gate.waiting == 1; }));
  CHECK(pool.map(square, numbers(3)) == std::vector<int>{0, 1, 4});
  CHECK(pool.map_async(square, numbers(3)).get() == std::vector<int>{0, 1, 4});
  gate.open_up();
  CHECK(blocked.get() == std::vector<int>{0, 1, 4});
}

TEST_CASE("a blocking call does not run far ahead of its tasks") {
  Gate gate;
  ThreadPool pool(1, {.window = 4});
  std::atomic<int> pulled{0};
  std::jthread opens([&] {
    REQUIRE(eventually([&] { return gate.waiting == 1; }));
    std::this_thread::sleep_for(20ms);
    CHECK(pulled <= 6);
    gate.open_up();
  });
  pool.map([&](int) { gate.pass(); },
           std::views::iota(0, 100) | std::views::transform([&](int i) { return ++pulled, i; }),
           {.chunksize = 1});
  CHECK(pulled == 100);
}

TEST_CASE("handles and ranges outlive their pool") {
  auto pool = std::make_unique<ThreadPool>(2);
  auto done = pool->apply_async(square, 3);
  done.wait();
  auto range = pool->imap(square, numbers(3));
  REQUIRE(range.next() == 0);
  REQUIRE(range.next() == 1);
  REQUIRE(range.next() == 4);
  REQUIRE(range.next() == std::nullopt);  // and so again, whatever becomes of the pool
  Gate gate;
  auto undone = pool->apply_async([&] { gate.open.wait(false, std::memory_order_acquire); });
  auto never = pool->map_async(square, std::vector<int>(1000));
  gate.open_up();
  pool.reset();
  CHECK(done.get() == 9);
  CHECK(range.next() == std::nullopt);
  CHECK(undone.ready());
  CHECK(never.ready());
}

TEST_CASE("arguments and functions die when their job is over") {
  auto held = std::make_shared<int>(1);
  ThreadPool pool(2);
  pool.apply([held] {});
  pool.map([held](const std::shared_ptr<int>&) {}, std::vector<std::shared_ptr<int>>(100, held));
  CHECK(eventually([&] { return held.use_count() == 1; }));
}

TEST_CASE("in a forked child every member throws, and the destructor does nothing") {
  auto pool = std::make_unique<ThreadPool>(1);
  auto handle = pool->apply_async(square, 3);
  handle.wait();
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    int refused = 0;
    const auto count = [&](auto call) {
      try {
        call();
      } catch (const libpool::PoolError&) {
        ++refused;
      }
    };
    count([&] { pool->apply(square, 3); });
    count([&] { pool->imap(square, numbers(3)); });
    count([&] { pool->close(); });
    count([&] { pool->terminate(); });
    count([&] { pool->join(); });
    count([&] { static_cast<void>(pool->size()); });
    count([&] { static_cast<void>(pool->stats()); });
    count([&] { handle.cancel(); });
    pool.reset();
    ::_exit(refused == 8 ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(pool->apply(square, 4) == 16);
}

TEST_CASE("calls and ends may race") {
  for (int round = 0; round < 30; ++round) {
    ThreadPool pool(2);
    std::vector<std::jthread> users;
    for (int user = 0; user < 4; ++user) {
      users.emplace_back([&, user] {
        try {
          while (true) {
            if (user % 2 == 0) {
              pool.map(square, numbers(50), {.chunksize = 1});
            } else {
              for (int value : pool.imap_unordered(square, numbers(50))) static_cast<void>(value);
            }
          }
        } catch (const libpool::PoolError&) {
        }
      });
    }
    std::this_thread::sleep_for(1ms);
    if (round % 3 == 0) pool.close();
    if (round % 3 != 0) pool.terminate();
    pool.join();
  }
}
