/// Contract: `callback` and `error_callback`.
///
/// Runs in the test; the tasks run in workers of both pools, the callbacks on threads of the test.
#include "contract.hpp"

#include <mutex>
#include <thread>

using namespace contract;

namespace {

/// Counts the calls of both kinds of callback and keeps what they got.
struct Calls {
  std::atomic<int> results{0};
  std::atomic<int> errors{0};
  std::atomic<int> last{-1};
  std::exception_ptr error;  // written before `errors` grows

  auto on_result() {
    return [this](int value) {
      last = value;
      ++results;
    };
  }
  auto on_error() {
    return [this](std::exception_ptr what) {
      error = std::move(what);
      ++errors;
    };
  }
  template <class E>
  [[nodiscard]] bool got() const {
    return caught<E>([this] { std::rethrow_exception(error); }).has_value();
  }
};

struct CallbackBroke : std::runtime_error {
  CallbackBroke() : std::runtime_error("the callback broke") {}
};

}  // namespace

BOTH_POOLS("the callback takes the result, once, before waiters wake") {
  Calls calls;
  Pool pool(1);
  auto handle = pool.apply_async(
      square, std::tuple(3), {.callback = calls.on_result(), .error_callback = calls.on_error()});
  CHECK(handle.get() == 9);
  CHECK(calls.results == 1);
  CHECK(calls.last == 9);
  CHECK(calls.errors == 0);
}

BOTH_POOLS("the error callback takes the exception, once, before waiters wake") {
  Calls calls;
  Pool pool(1);
  auto handle =
      pool.apply_async(throw_if_odd, std::tuple(3),
                       {.callback = calls.on_result(), .error_callback = calls.on_error()});
  handle.wait();
  CHECK(calls.errors == 1);
  CHECK(calls.results == 0);
  CHECK(calls.template got<std::out_of_range>());
}

BOTH_POOLS("a callback runs in the process of the caller") {
  std::atomic<pid_t> process = 0;
  Pool pool(1);
  pool.apply_async(square, std::tuple(3), {.callback = [&](int) { process = ::getpid(); }}).wait();
  CHECK(process == ::getpid());
}

BOTH_POOLS("a callback is called though nobody waits for the handle") {
  std::atomic<int> seen = 0;
  Pool pool(1);
  static_cast<void>(
      pool.apply_async(square, std::tuple(3), {.callback = [&](int value) { seen = value; }}));
  CHECK(oracle::eventually([&] { return seen == 9; }));
}

BOTH_POOLS("the callback of map_async takes the whole vector") {
  std::vector<int> seen;
  Pool pool(2);
  auto handle = pool.map_async(
      square, numbers(50), {.callback = [&](const std::vector<int>& values) { seen = values; }});
  handle.wait();
  CHECK(seen == squares(50));
}

BOTH_POOLS("the callback of starmap_async takes the whole vector") {
  std::vector<int> seen;
  Pool pool(2);
  auto handle =
      pool.starmap_async(add, std::vector<std::pair<int, int>>{{1, 2}},
                         {.callback = [&](const std::vector<int>& values) { seen = values; }});
  handle.wait();
  CHECK(seen == std::vector<int>{3});
}

BOTH_POOLS("the callback of a void function takes nothing") {
  std::atomic<int> called = 0;
  Pool pool(2);
  pool.apply_async(nothing, std::tuple(1), {.callback = [&] { ++called; }}).wait();
  pool.map_async(nothing, numbers(5), {.callback = [&] { ++called; }}).wait();
  CHECK(called == 2);
}

BOTH_POOLS("the callback of an empty input is called once") {
  std::atomic<int> called = 0;
  Pool pool(1);
  pool.map_async(square, std::vector<int>{},
                 {.callback =
                      [&](const std::vector<int>& values) {
                        if (values.empty()) ++called;
                      }})
      .wait();
  CHECK(called == 1);
}

BOTH_POOLS("the error callback of a cancelled job gets TaskCancelled") {
  Calls calls;
  Pool pool(1);
  oracle::Fresh fresh;
  auto running = pool.apply_async(wait_at_gate, 0);
  REQUIRE(oracle::arrived(1));
  auto handle = pool.apply_async(
      square, std::tuple(3), {.callback = calls.on_result(), .error_callback = calls.on_error()});
  REQUIRE(handle.cancel());
  handle.wait();
  CHECK(calls.errors == 1);
  CHECK(calls.results == 0);
  CHECK(calls.template got<libpool::TaskCancelled>());
}

BOTH_POOLS("the error callback of a terminated job gets PoolTerminated, once") {
  Calls calls;
  {
    Pool pool(1);
    oracle::Fresh fresh;
    auto running =
        pool.apply_async(wait_at_gate, std::tuple(0),
                         {.callback = calls.on_result(), .error_callback = calls.on_error()});
    REQUIRE(oracle::arrived(1));
    pool.terminate();
    oracle::Fresh::open_gate();
    pool.join();
  }
  CHECK(calls.errors == 1);
  CHECK(calls.results == 0);
  CHECK(calls.template got<libpool::PoolTerminated>());
}

BOTH_POOLS("join waits for callbacks") {
  std::atomic<int> done = 0;
  Pool pool(1);
  static_cast<void>(pool.apply_async(square, std::tuple(3), {.callback = [&](int) {
                                       std::this_thread::sleep_for(30ms);
                                       ++done;
                                     }}));
  pool.close();
  pool.join();
  CHECK(done == 1);
}

BOTH_POOLS("a callback that throws makes its exception the outcome of that handle") {
  Pool pool(1);
  auto handle =
      pool.apply_async(square, std::tuple(3), {.callback = [](int) { throw CallbackBroke(); }});
  CHECK_THROWS_AS(handle.get(), CallbackBroke);
  CHECK_FALSE(handle.successful());
}

BOTH_POOLS("an error callback that throws makes its exception the outcome of that handle") {
  Pool pool(1);
  auto handle =
      pool.apply_async(throw_if_odd, std::tuple(3),
                       {.error_callback = [](std::exception_ptr) { throw CallbackBroke(); }});
  CHECK_THROWS_AS(handle.get(), CallbackBroke);
}

BOTH_POOLS("a callback that throws does not call the error callback") {
  Calls calls;
  Pool pool(1);
  auto handle = pool.apply_async(
      square, std::tuple(3),
      {.callback = [](int) { throw CallbackBroke(); }, .error_callback = calls.on_error()});
  handle.wait();
  CHECK(calls.errors == 0);
}

BOTH_POOLS("a callback that throws harms nothing else") {
  Pool pool(2);
  std::vector<libpool::AsyncResult<int>> bad;
  for (int i = 0; i < 20; ++i) {
    bad.push_back(pool.apply_async(square, std::tuple(i), {.callback = [](int) { throw 42; }}));
  }
  auto good = pool.map_async(square, numbers(20));
  CHECK(good.get() == squares(20));
  for (auto& handle : bad) CHECK_THROWS_AS(handle.get(), int);
  CHECK(pool.map(square, numbers(20)) == squares(20));
}

BOTH_POOLS("a callback that throws in map_async makes its exception the outcome") {
  Pool pool(2);
  auto handle = pool.map_async(
      square, numbers(20), {.callback = [](const std::vector<int>&) { throw CallbackBroke(); }});
  CHECK_THROWS_AS(handle.get(), CallbackBroke);
}

BOTH_POOLS("a callback may submit and wait for what it submitted") {
  std::atomic<int> sum = 0;
  Pool pool(1);
  auto handle = pool.apply_async(square, std::tuple(3), {.callback = [&](int value) {
                                   sum += pool.apply(square, value);
                                   sum += pool.apply_async(square, 2).get();
                                   for (int x : pool.map(square, numbers(4))) sum += x;
                                 }});
  handle.wait();
  CHECK(handle.successful());
  CHECK(sum == 81 + 4 + 14);
}

BOTH_POOLS("a callback may submit a task whose callback submits") {
  std::atomic<int> depth = 0;
  Pool pool(1);
  std::function<void(int)> again = [&](int) {
    if (++depth < 20)
      static_cast<void>(pool.apply_async(square, std::tuple(1), {.callback = again}));
  };
  static_cast<void>(pool.apply_async(square, std::tuple(1), {.callback = again}));
  CHECK(oracle::eventually([&] { return depth == 20; }));
}

BOTH_POOLS("a callback may close the pool") {
  Pool pool(1);
  auto handle = pool.apply_async(square, std::tuple(3), {.callback = [&](int) { pool.close(); }});
  CHECK(handle.get() == 9);
  CHECK_THROWS_AS(pool.apply(square, 1), libpool::PoolClosed);
  pool.join();
}

BOTH_POOLS("a callback may terminate the pool") {
  Pool pool(1);
  oracle::Fresh fresh;
  std::atomic<bool> submitted = false;
  auto handle = pool.apply_async(square, std::tuple(3), {.callback = [&](int) {
                                   submitted.wait(false);
                                   pool.terminate();
                                 }});
  auto later = pool.map_async(wait_at_gate, numbers(10));
  submitted = true;
  submitted.notify_all();
  handle.wait();
  CHECK_THROWS_AS(later.get(), libpool::PoolTerminated);
}

BOTH_POOLS("join inside a callback throws a logic error") {
  std::atomic<bool> threw = false;
  Pool pool(1);
  auto handle = pool.apply_async(square, std::tuple(3), {.callback = [&](int) {
                                   pool.close();
                                   threw =
                                       caught<std::logic_error>([&] { pool.join(); }).has_value();
                                 }});
  CHECK(handle.get() == 9);
  CHECK(threw);
}

BOTH_POOLS("get and wait on a callback's own handle inside it throw a logic error") {
  std::atomic<int> threw = 0;
  Pool pool(1);
  oracle::Fresh fresh;
  std::optional<libpool::AsyncResult<int>> handle;
  const auto callback = [&](int) {
    threw += caught<std::logic_error>([&] { handle->get(); }).has_value() ? 1 : 0;
    threw += caught<std::logic_error>([&] { handle->wait(); }).has_value() ? 1 : 0;
    threw += caught<std::logic_error>([&] { handle->get(1s); }).has_value() ? 1 : 0;
    threw += caught<std::logic_error>([&] { handle->wait(1s); }).has_value() ? 1 : 0;
  };
  handle = pool.apply_async(wait_at_gate, std::tuple(3), {.callback = callback});
  oracle::Fresh::open_gate();
  CHECK(handle->get() == 3);
  CHECK(threw == 4);
}

BOTH_POOLS("get and wait inside an error callback on its own handle throw a logic error") {
  std::atomic<int> threw = 0;
  Pool pool(1);
  oracle::Fresh fresh;
  std::optional<libpool::AsyncResult<int>> handle;
  handle = pool.apply_async(
      [](int) -> int {
        oracle::pass_gate();
        throw std::runtime_error("x");
      },
      std::tuple(3), {.error_callback = [&](std::exception_ptr) {
        threw += caught<std::logic_error>([&] { handle->get(); }).has_value() ? 1 : 0;
        threw += caught<std::logic_error>([&] { handle->wait(); }).has_value() ? 1 : 0;
      }});
  oracle::Fresh::open_gate();
  CHECK_THROWS_AS(handle->get(), std::runtime_error);
  CHECK(threw == 2);
}

BOTH_POOLS("a slow callback delays no other job's completion") {
  std::atomic<bool> release = false;
  Pool pool(1);
  auto slow =
      pool.apply_async(square, std::tuple(3), {.callback = [&](int) {
                         static_cast<void>(oracle::eventually([&] { return release.load(); }));
                       }});
  CHECK(pool.apply_async(square, 4).get() == 16);
  CHECK(pool.map_async(square, numbers(100)).get() == squares(100));
  CHECK(drain(pool.imap(square, numbers(100))) == squares(100));
  std::atomic<int> other = 0;
  pool.apply_async(square, std::tuple(5), {.callback = [&](int value) { other = value; }}).wait();
  CHECK(other == 25);
  CHECK_FALSE(slow.ready());
  release = true;
  CHECK(slow.get() == 9);
}

BOTH_POOLS("after terminate waiters do not wait for callbacks") {
  std::atomic<bool> release = false;
  std::atomic<bool> finished = false;
  Pool pool(1);
  oracle::Fresh fresh;
  auto handle =
      pool.apply_async(wait_at_gate, std::tuple(3), {.error_callback = [&](std::exception_ptr) {
                         static_cast<void>(oracle::eventually([&] { return release.load(); }));
                         finished = true;
                       }});
  REQUIRE(oracle::arrived(1));
  pool.terminate();
  CHECK_THROWS_AS(handle.get(), libpool::PoolTerminated);
  CHECK_FALSE(finished);
  release = true;
  oracle::Fresh::open_gate();
  pool.join();
  CHECK(finished);
}

BOTH_POOLS("after terminate waiters wait for no callback that has begun, and for none in the row") {
  std::atomic<bool> begun = false;
  std::atomic<bool> release = false;
  Pool pool(1, {.helper_threads = 1});
  const auto slow = [&](int) {
    begun = true;
    static_cast<void>(oracle::eventually([&] { return release.load(); }));
  };
  auto running = pool.apply_async(square, std::tuple(3), {.callback = slow});
  REQUIRE(oracle::eventually([&] { return begun.load(); }));
  auto waiting = pool.apply_async(square, std::tuple(4), {.callback = slow});
  // Its task is over, its callback is not.
  REQUIRE(oracle::eventually([&] { return pool.stats().succeeded == 2; }));
  CHECK_FALSE(running.ready());
  pool.terminate();
  CHECK_THROWS_AS(running.get(), libpool::PoolTerminated);
  CHECK_THROWS_AS(waiting.get(), libpool::PoolTerminated);
  release = true;
  pool.join();
  CHECK_THROWS_AS(running.get(), libpool::PoolTerminated);
}

BOTH_POOLS("callbacks may wait for jobs of their pool, however many do at once") {
  constexpr int jobs = 20;
  Pool pool(2, {.helper_threads = 1});
  std::atomic<int> right = 0;
  std::vector<libpool::AsyncResult<int>> handles;
  for (int i = 0; i < jobs; ++i) {
    handles.push_back(pool.apply_async(square, std::tuple(i), {.callback = [&](int) {
                                         right +=
                                             pool.map_async(square, numbers(3)).get() == squares(3);
                                         for (const int result : pool.imap(square, numbers(1)))
                                           right += result == 0;
                                       }}));
  }
  for (auto& handle : handles) CHECK(handle.wait(1min));
  CHECK(right == 2 * jobs);
}

BOTH_POOLS("each of many jobs gets exactly one callback") {
  std::atomic<int> results = 0;
  std::atomic<int> errors = 0;
  {
    Pool pool(2);
    for (int i = 0; i < 500; ++i) {
      static_cast<void>(
          pool.apply_async(throw_if_odd, std::tuple(i),
                           {.callback = [&](int) { ++results; },
                            .error_callback = [&](std::exception_ptr) { ++errors; }}));
    }
    pool.close();
    pool.join();
  }
  CHECK(results == 250);
  CHECK(errors == 250);
}

BOTH_POOLS("callbacks raced with terminate come exactly once each") {
  for (int round = 0; round < 10; ++round) {
    std::atomic<int> called = 0;
    {
      Pool pool(2);
      for (int i = 0; i < 100; ++i) {
        static_cast<void>(
            pool.apply_async(square, std::tuple(i),
                             {.callback = [&](int) { ++called; },
                              .error_callback = [&](std::exception_ptr) { ++called; }}));
      }
      pool.terminate();
      pool.join();
    }
    REQUIRE(called == 100);
  }
}

BOTH_POOLS("the result may be moved out of the handle after the callback saw it") {
  std::string seen;
  Pool pool(1);
  auto handle = pool.apply_async([](int) { return std::string(100, 'x'); }, std::tuple(0),
                                 {.callback = [&](const std::string& value) { seen = value; }});
  CHECK(std::move(handle).get() == std::string(100, 'x'));
  CHECK(seen == std::string(100, 'x'));
}
