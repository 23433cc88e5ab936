/// Contract: `AsyncResult`, the handle of `apply_async`, `map_async` and `starmap_async`.
///
/// Runs in the test; the tasks run in workers of both pools.
#include "contract.hpp"

#include <atomic>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>

using namespace contract;

namespace {

std::string long_text(int) { return "a string too long for the short buffer"; }
std::unique_ptr<int> boxed(int x) { return std::make_unique<int>(x); }
/// Counts its instances in this process.
struct Counted {
  static inline std::atomic<int> alive{0};
  Counted() { ++alive; }
  Counted(const Counted&) { ++alive; }
  Counted& operator=(const Counted&) = default;
  ~Counted() { --alive; }
  template <class Archive>
  void serialize(Archive&, unsigned) {}
};
bool at_gate_then_throw(int) {
  oracle::pass_gate();
  throw std::out_of_range("after the gate");
}

}  // namespace

BOTH_POOLS("a handle is copyable, and its copies share the result") {
  static_assert(std::is_copy_constructible_v<libpool::AsyncResult<int>>);
  static_assert(std::is_copy_assignable_v<libpool::AsyncResult<int>>);
  Pool pool(2);
  const auto handle = pool.apply_async(square, 5);
  const auto copy = handle;
  CHECK(copy.get() == 25);
  CHECK(handle.get() == 25);
}

BOTH_POOLS("ready is false before the task has finished and true after") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async(wait_at_gate, 1);
  CHECK_FALSE(handle.ready());
  oracle::Fresh::open_gate();
  handle.wait();
  CHECK(handle.ready());
}

BOTH_POOLS("ready becomes true though nobody waits") {
  Pool pool(1);
  auto handle = pool.apply_async(square, 1);
  CHECK(oracle::eventually([&] { return handle.ready(); }));
}

BOTH_POOLS("successful throws a logic error before the handle is ready") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async(wait_at_gate, 1);
  CHECK_THROWS_AS(handle.successful(), std::logic_error);
}

BOTH_POOLS("successful tells a result from an error") {
  Pool pool(1);
  auto good = pool.apply_async(throw_if_odd, 2);
  auto bad = pool.apply_async(throw_if_odd, 3);
  good.wait();
  bad.wait();
  CHECK(good.successful());
  CHECK_FALSE(bad.successful());
}

BOTH_POOLS("wait returns when the task has failed, and does not throw") {
  Pool pool(1);
  auto handle = pool.apply_async(throw_if_odd, 3);
  CHECK_NOTHROW(handle.wait());
  CHECK(handle.ready());
}

BOTH_POOLS("wait with a timeout is false while the task runs and true once it has finished") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async(wait_at_gate, 1);
  CHECK_FALSE(handle.wait(5ms));
  oracle::Fresh::open_gate();
  CHECK(handle.wait(60s));
  CHECK(handle.wait(0s));
}

BOTH_POOLS("wait with a zero or a negative timeout returns at once") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async(wait_at_gate, 1);
  CHECK_FALSE(handle.wait(0ms));
  CHECK_FALSE(handle.wait(-5h));
}

BOTH_POOLS("get with a timeout throws TimeoutError and loses nothing") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async(wait_at_gate, 8);
  CHECK_THROWS_AS(handle.get(5ms), libpool::TimeoutError);
  CHECK_THROWS_AS(handle.get(0s), libpool::TimeoutError);
  CHECK_THROWS_AS(handle.get(-1ns), libpool::TimeoutError);
  CHECK_THROWS_AS(std::move(handle).get(0s), libpool::TimeoutError);
  oracle::Fresh::open_gate();
  CHECK(handle.get() == 8);
}

BOTH_POOLS("a timeout of a wait is a PoolError") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async(wait_at_gate, 8);
  CHECK_THROWS_AS(handle.get(1ms), libpool::PoolError);
}

BOTH_POOLS("timeouts take any duration and saturate") {
  Pool pool(1);
  auto handle = pool.apply_async(square, 2);
  CHECK(handle.wait(std::chrono::hours::max()));
  CHECK(handle.wait(std::chrono::duration<double>(1e300)));
  CHECK(handle.get(std::chrono::years(1'000'000)) == 4);
  CHECK(handle.get(std::chrono::nanoseconds::max()) == 4);
  oracle::Fresh fresh;
  auto waiting = pool.apply_async(wait_at_gate, 1);
  CHECK_FALSE(waiting.wait(std::chrono::hours::min()));
  CHECK_FALSE(waiting.wait(std::chrono::duration<double>(-1e300)));
  CHECK_FALSE(waiting.wait(std::chrono::duration<float, std::milli>(0.5F)));
}

BOTH_POOLS("a long timeout is still a wait that the result ends") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async(wait_at_gate, 1);
  std::jthread opener([] { oracle::Fresh::open_gate(); });
  CHECK(handle.get(std::chrono::hours::max()) == 1);
}

BOTH_POOLS("get of an lvalue handle gives a constant reference to the shared value") {
  Pool pool(1);
  auto handle = pool.apply_async(long_text, 0);
  static_assert(std::is_same_v<decltype(handle.get()), const std::string&>);
  static_assert(std::is_same_v<decltype(handle.get(1s)), const std::string&>);
  const auto copy = handle;
  CHECK(&handle.get() == &copy.get());
}

BOTH_POOLS("get of an rvalue handle moves the shared value out") {
  Pool pool(1);
  static_assert(std::is_same_v<decltype(pool.apply_async(long_text, 0).get()), std::string>);
  CHECK(pool.apply_async(long_text, 0).get() == long_text(0));
  auto handle = pool.apply_async(boxed, 3);
  const std::unique_ptr<int> moved = std::move(handle).get(60s);
  CHECK(*moved == 3);
}

BOTH_POOLS("get may be called many times") {
  Pool pool(1);
  const auto handle = pool.apply_async(long_text, 0);
  for (int i = 0; i < 3; ++i) CHECK(handle.get() == long_text(0));
}

BOTH_POOLS("get rethrows the task's exception, each time") {
  Pool pool(1);
  auto handle = pool.apply_async(throw_if_odd, 3);
  CHECK_THROWS_AS(handle.get(), std::out_of_range);
  CHECK_THROWS_AS(handle.get(60s), std::out_of_range);
  CHECK_THROWS_AS(std::move(handle).get(), std::out_of_range);
}

BOTH_POOLS("get with a timeout rethrows the task's exception, and no TimeoutError") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async(at_gate_then_throw, 3);
  std::jthread opener([] { oracle::Fresh::open_gate(); });
  CHECK_THROWS_AS(handle.get(60s), std::out_of_range);
}

BOTH_POOLS("any number of threads may wait for one handle") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async(wait_at_gate, 6);
  std::atomic<int> right = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&, i] {
        if (i % 2 == 0) handle.wait();
        while (i % 3 == 0 && !handle.wait(1ms)) {
        }
        if (handle.get() == 6) ++right;
      });
    }
    oracle::Fresh::open_gate();
  }
  CHECK(right == 8);
}

BOTH_POOLS("a handle may be dropped: its task runs all the same") {
  oracle::Fresh fresh;
  Pool pool(2);
  for (int i = 0; i < 50; ++i) static_cast<void>(pool.apply_async(count_and_return, i));
  pool.close();
  pool.join();
  CHECK(oracle::executed(50) == 50);
}

BOTH_POOLS("a handle outlives its pool with its result") {
  std::optional<Pool> pool(std::in_place, 2U);
  auto one = pool->apply_async(square, 3);
  auto many = pool->map_async(square, numbers(10));
  pool->close();
  pool->join();
  pool.reset();
  CHECK(one.get() == 9);
  CHECK(many.get() == squares(10));
}

BOTH_POOLS("a handle of unfinished work outlives its pool with PoolTerminated") {
  std::optional<Pool> pool(std::in_place, 1U);
  oracle::Fresh fresh;
  auto running = pool->apply_async(wait_at_gate, 1);
  auto queued = pool->apply_async(wait_at_gate, 1);
  REQUIRE(oracle::arrived(1));
  std::jthread opener([&] {
    static_cast<void>(oracle::eventually([&] { return queued.ready(); }));
    oracle::Fresh::open_gate();
  });
  pool.reset();
  CHECK_THROWS_AS(running.get(), libpool::PoolTerminated);
  CHECK_THROWS_AS(queued.get(), libpool::PoolTerminated);
  CHECK_FALSE(queued.cancel());
}

BOTH_POOLS("map_async returns at once and gives the vector later") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.map_async(wait_at_gate, numbers(10));
  static_assert(std::is_same_v<decltype(handle), libpool::AsyncResult<std::vector<int>>>);
  CHECK_FALSE(handle.ready());
  oracle::Fresh::open_gate();
  CHECK(handle.get() == numbers(10));
}

BOTH_POOLS("map_async takes every chunk size") {
  Pool pool(2);
  for (std::size_t chunksize : {1U, 7U, 30U, 31U}) {
    CAPTURE(chunksize);
    CHECK(pool.map_async(square, numbers(30), {.chunksize = chunksize}).get() == squares(30));
  }
}

BOTH_POOLS("map_async of an empty range is ready with an empty vector") {
  Pool pool(1);
  auto handle = pool.map_async(square, std::vector<int>{});
  CHECK(handle.get().empty());
  CHECK(handle.successful());
}

BOTH_POOLS("map_async of a void function gives a handle of nothing") {
  oracle::Fresh fresh;
  Pool pool(1);
  auto handle = pool.map_async(oracle::count_execution, numbers(10));
  static_assert(std::is_same_v<decltype(handle), libpool::AsyncResult<void>>);
  static_assert(std::is_void_v<decltype(handle.get())>);
  handle.get();
  CHECK(oracle::executed(10) == 10);
}

BOTH_POOLS("map_async throws the error of the lowest index, after all items have finished") {
  oracle::Fresh fresh;
  Pool pool(2);
  auto handle = pool.map_async(
      [](int x) {
        oracle::count_execution(x);
        return throw_if_odd(x);
      },
      numbers(20), {.chunksize = 3});
  const auto error = caught<std::out_of_range>([&] { handle.get(); });
  REQUIRE(error.has_value());
  CHECK(std::string(error->what()) == "odd: 1");
  CHECK(oracle::executed(20) == 20);
}

BOTH_POOLS("map_async keeps its own copy of an lvalue container") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto blocker = pool.apply_async(wait_at_gate, 0);
  std::vector<int> values = numbers(1000);
  auto handle = pool.map_async(square, values, {.chunksize = 1});
  values.assign(1000, -1);
  oracle::Fresh::open_gate();
  CHECK(handle.get() == squares(1000));
}

BOTH_POOLS("map_async moves an rvalue container in") {
  Pool pool(1);
  std::vector<std::unique_ptr<int>> boxes;
  for (int i = 0; i < 10; ++i) boxes.push_back(boxed(i));
  auto handle = pool.map_async([](std::unique_ptr<int> box) { return *box; }, std::move(boxes));
  CHECK(handle.get() == numbers(10));
}

BOTH_POOLS("map_async keeps a view as a view") {
  Pool pool(1);
  std::vector<int> values = numbers(1000);
  auto handle = pool.map_async(square, std::views::all(values), {.chunksize = 7});
  CHECK(handle.get() == squares(1000));
}

BOTH_POOLS("what an input range of map_async throws comes through the handle") {
  Pool pool(2);
  for (int where : {0, 25, 49}) {
    for (bool on_advance : {false, true}) {
      for (std::size_t chunksize : {1U, 7U, 50U, 51U}) {
        CAPTURE(where);
        CAPTURE(on_advance);
        CAPTURE(chunksize);
        Script script{.items = 50, .throws_at = where, .on_advance = on_advance};
        std::optional<libpool::AsyncResult<std::vector<int>>> handle;
        REQUIRE_NOTHROW(handle =
                            pool.map_async(square, Scripted(script), {.chunksize = chunksize}));
        CHECK_THROWS_AS(handle->get(), InputBroke);
      }
    }
  }
  CHECK(pool.map(square, numbers(10)) == squares(10));
}

BOTH_POOLS("many handles may be pending at once") {
  Pool pool(2);
  std::vector<libpool::AsyncResult<int>> handles;
  for (int i = 0; i < 5000; ++i) handles.push_back(pool.apply_async(square, i));
  for (int i = 0; i < 5000; ++i) REQUIRE(handles[static_cast<std::size_t>(i)].get() == i * i);
}

BOTH_POOLS("what tasks were given is destroyed soon after their ends, though nobody waits") {
  Pool pool(2);
  for (const int tasks : {1, 3000}) {
    CAPTURE(tasks);
    std::vector<libpool::AsyncResult<int>> handles;
    for (int i = 0; i < tasks; ++i) {
      handles.push_back(pool.apply_async([](const Counted&, int x) { return x; }, Counted(), i));
    }
    CHECK(oracle::eventually([] { return Counted::alive == 0; }));
    for (int i = 0; i < tasks; ++i) REQUIRE(handles[static_cast<std::size_t>(i)].ready());
  }
}

BOTH_POOLS("threads that flood a pool with tasks take one another's outcomes in") {
  Pool pool(2);
  std::atomic<int> callbacks{0};
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&pool, &callbacks, thread] {
      std::vector<libpool::AsyncResult<int>> handles;
      for (int i = 0; i < 2000; ++i) {
        const int item = i % 100 + thread;
        if (i % 500 == 7) {
          handles.push_back(pool.apply_async(square, std::tuple(item),
                                             {.callback = [&](const int&) { ++callbacks; }}));
        } else {
          handles.push_back(pool.apply_async(square, item));
        }
      }
      for (int i = 0; i < 2000; ++i) {
        const int item = i % 100 + thread;
        REQUIRE(handles[static_cast<std::size_t>(i)].get() == item * item);
      }
    });
  }
  threads.clear();
  CHECK(callbacks == 16);
  CHECK(pool.stats().succeeded == 8000);
}

BOTH_POOLS("a handle becomes ready while it is polled without a pause") {
  Pool pool(2);
  const auto patience = std::chrono::steady_clock::now() + 60s;
  const auto late = [&] { return std::chrono::steady_clock::now() > patience; };
  auto handle = pool.map_async(square, numbers(5000), {.chunksize = 1});
  while (!handle.wait(0ms) && !late()) {
  }
  CHECK(handle.ready());
  auto range = pool.imap(square, numbers(2000));
  int taken = 0;
  while (taken < 2000 && !late()) {
    try {
      const auto value = range.next(0ms);
      REQUIRE(value == taken * taken);
      ++taken;
    } catch (const libpool::TimeoutError&) {
      continue;
    }
  }
  CHECK(taken == 2000);
}
