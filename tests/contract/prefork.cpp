/// Contract: `prefork()`. It works once in a process, so every test is a forked child of its own.
///
/// Runs in children that the test forks; the tasks run in workers of their pools.
#include "contract.hpp"

#include <thread>

using namespace contract;

namespace {

int global_value = 1;
int see_value(int) { return global_value; }

/// Runs `body` in a child that has called `prefork()`; true if it says so.
template <class Body>
bool holds_after_prefork(Body body) {
  return oracle::exit_of_child([&] {
           libpool::prefork();
           return body() ? 5 : 6;
         }) == 5;
}

}  // namespace

TEST_CASE("a pool made after prefork works") {
  CHECK(holds_after_prefork([] {
    ProcessPool pool(2);
    return pool.map(square, numbers(100)) == squares(100) && pool.apply_async(square, 3).get() == 9;
  }));
}

TEST_CASE("several pools share the server that prefork made, one after the other and at once") {
  CHECK(holds_after_prefork([] {
    bool right = true;
    for (int i = 0; i < 5; ++i)
      right = right && ProcessPool(2).map(square, numbers(10)) == squares(10);
    ProcessPool one(2);
    ProcessPool two(3);
    auto first = one.map_async(square, numbers(500));
    auto second = two.map_async(square, numbers(500));
    return right && first.get() == squares(500) && second.get() == squares(500);
  }));
}

TEST_CASE("tasks of a pool made after prefork see memory as it was when prefork was called") {
  CHECK(oracle::exit_of_child([] {
          global_value = 2;
          libpool::prefork();
          global_value = 3;
          ProcessPool pool(1);
          return pool.apply(see_value, 0);
        }) == 2);
}

TEST_CASE("a pool with an initializer forks a server of its own after prefork") {
  CHECK(oracle::exit_of_child([] {
          libpool::prefork();
          global_value = 4;
          ProcessPool pool(1, {.initializer = [] { global_value += 10; }});
          return pool.apply(see_value, 0);
        }) == 14);
}

TEST_CASE("prefork can be called twice") {
  CHECK(holds_after_prefork([] {
    libpool::prefork();
    return ProcessPool(1).apply(square, 3) == 9;
  }));
}

TEST_CASE("prefork inside a worker does nothing") {
  ProcessPool pool(1);
  CHECK(pool.apply(
            [](int x) {
              libpool::prefork();
              return x;
            },
            4) == 4);
  CHECK(pool.apply(square, 3) == 9);
}

TEST_CASE("after prefork a crash costs one worker of one pool") {
  CHECK(holds_after_prefork([] {
    ProcessPool one(1);
    ProcessPool two(1);
    const auto error =
        caught<libpool::WorkerCrashed>([&] { one.apply([]() -> int { ::_exit(3); }); });
    return error && error->exit_status() == 3 && one.apply(square, 2) == 4 &&
           two.apply(square, 2) == 4 && two.stats().workers_lost == 0;
  }));
}

TEST_CASE("after prefork the end of a pool kills what its tasks left behind, and no other pool's") {
  CHECK(holds_after_prefork([] {
    const auto leave_behind = [](int) {
      const pid_t child = ::fork();
      if (child == 0) {
        for (;;) ::pause();
      }
      return static_cast<int>(child);
    };
    ProcessPool kept(1);
    const oracle::Watched other(kept.apply(leave_behind, 0));
    std::optional<oracle::Watched> stray;
    {
      ProcessPool pool(1);
      stray.emplace(pool.apply(leave_behind, 0));
      if (!stray->found() || stray->dead()) return false;
    }
    return stray->dead() && !other.dead();
  }));
}

TEST_CASE("pools may be made in threads after prefork") {
  CHECK(holds_after_prefork([] {
    std::atomic<int> right = 0;
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < 6; ++i) {
        threads.emplace_back(
            [&] { right += ProcessPool(2).map(square, numbers(50)) == squares(50) ? 1 : 0; });
      }
    }
    return right == 6;
  }));
}

TEST_CASE("a child that forks after prefork makes pools of its own") {
  CHECK(holds_after_prefork([] {
    ProcessPool pool(1);
    const int status = oracle::exit_of_child([] { return ProcessPool(1).apply(square, 4); });
    return status == 16 && pool.apply(square, 2) == 4;
  }));
}

TEST_CASE("a pool made while other threads run works without prefork") {
  std::jthread other([](const std::stop_token& stop) {
    while (!stop.stop_requested()) std::this_thread::sleep_for(1ms);
  });
  ProcessPool pool(2);
  CHECK(pool.map(square, numbers(10)) == squares(10));
}

TEST_CASE("a pool made in a worker after prefork works") {
  CHECK(holds_after_prefork([] {
    ProcessPool pool(1);
    return pool.apply([] { return ProcessPool(1).apply(square, 4); }) == 16;
  }));
}
