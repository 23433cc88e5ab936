/// The ends that nobody tidies up after: of the program that owns a pool, and of a pool's fork
/// server.
///
/// The tests run in a process that owns no pool, but forks sacrificial programs that do; what these
/// leave behind falls to the test, which is a subreaper for that time.
#include "matrix.hpp"
#include "subreaper.hpp"

using namespace crash;
using libpool::ProcessPool;
using namespace std::chrono_literals;

namespace {

int wait_at_gate(int item) {
  oracle::pass_gate();
  return item;
}
int spin(int) {
  ++oracle::page.arrived;
  for (;;) {
  }
}
int sleep_in_child(int item) {
  if (::fork() == 0) {
    ++oracle::page.arrived;
    for (;;) ::pause();
  }
  return wait_at_gate(item);
}

/// Forks a program that runs `body`; the pid of it.
template <class Body>
pid_t sacrifice(Body body) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(120);
    try {
      body();
    } catch (...) {
    }
    ::_exit(77);
  }
  return child;
}

struct Scene {
  const char* name;
  void (*body)();
  std::uint32_t arrivals;
};

const std::array scenes{
    Scene{"idle workers",
          [] {
            ProcessPool pool(3);
            pool.map(crash::work, orders(5, {}));
            ++oracle::page.arrived;
            for (;;) ::pause();
          },
          1},
    Scene{"workers in tasks, the owner in map",
          [] {
            ProcessPool pool(3);
            pool.map(wait_at_gate, std::vector<int>(10), {.chunksize = 1});
          },
          3},
    Scene{"workers in endless loops, the owner in get",
          [] {
            ProcessPool pool(2);
            pool.map_async(spin, std::vector<int>(10), {.chunksize = 1}).get();
          },
          2},
    Scene{"two pools",
          [] {
            ProcessPool one(2);
            ProcessPool two(2);
            auto first = one.map_async(wait_at_gate, std::vector<int>(4), {.chunksize = 1});
            two.map(wait_at_gate, std::vector<int>(4), {.chunksize = 1});
          },
          4},
    Scene{"a nested pool",
          [] {
            ProcessPool outer(1);
            outer.apply(
                [](int) {
                  ProcessPool inner(2);
                  inner.map(wait_at_gate, std::vector<int>(4), {.chunksize = 1});
                  return 0;
                },
                0);
          },
          2},
    Scene{"strays of tasks",
          [] {
            ProcessPool pool(2);
            pool.map(sleep_in_child, std::vector<int>(2), {.chunksize = 1});
          },
          4},
    Scene{"a prefork root",
          [] {
            libpool::prefork();
            ProcessPool one(2);
            ProcessPool two(1);
            auto first = one.map_async(wait_at_gate, std::vector<int>(4), {.chunksize = 1});
            two.map(wait_at_gate, std::vector<int>(1), {.chunksize = 1});
          },
          3},
    Scene{"workers that retire all the time",
          [] {
            ProcessPool pool(2, {.max_tasks_per_child = 1});
            for (auto&& result : pool.imap(
                     [](int item) {
                       ++oracle::page.arrived;
                       return item;
                     },
                     std::views::iota(0))) {
              static_cast<void>(result);
            }
          },
          200},
};

pid_t server_of(ProcessPool& pool) {
  if (!oracle::eventually([&] { return !pool.stats().workers.empty(); })) return 0;
  return oracle::parent_of(pool.stats().workers.at(0).pid);
}

}  // namespace

TEST_CASE("when the owner of a pool is killed, nothing of the pool is left") {
  for (const Scene& scene : scenes) {
    for (const int signal : {SIGKILL, SIGSEGV, SIGTERM}) {
      CAPTURE(scene.name);
      CAPTURE(signal);
      const Subreaper reaper;
      oracle::page.gate_open = 0;
      oracle::page.arrived = 0;
      const pid_t owner = sacrifice(scene.body);
      REQUIRE(oracle::arrived(scene.arrivals));
      ::kill(owner, signal);
      CHECK(Subreaper::all_gone());
    }
  }
}

TEST_CASE("when the owner of a pool leaves by _exit, nothing of the pool is left") {
  const Subreaper reaper;
  sacrifice([] {
    ProcessPool pool(2);
    pool.map(crash::work, orders(5, {}));
    ::_exit(0);
  });
  CHECK(Subreaper::all_gone());
}

TEST_CASE("when the owner is killed right after it made a pool, nothing is left") {
  for (int delay = 0; delay < 40; ++delay) {
    const Subreaper reaper;
    const pid_t owner = sacrifice([] {
      for (;;) {
        ProcessPool pool(2);
        pool.map(crash::work, orders(3, {}));
      }
    });
    std::this_thread::sleep_for(std::chrono::microseconds{delay * 300});
    ::kill(owner, SIGKILL);
    REQUIRE(Subreaper::all_gone());
  }
}

TEST_CASE("when the owner and the fork server are killed at once, no worker is left") {
  const Subreaper reaper;
  oracle::page.gate_open = 0;
  oracle::page.arrived = 0;
  oracle::page.words[9] = 0;
  const pid_t owner = sacrifice([] {
    ProcessPool pool(3);
    oracle::page.words[9] = server_of(pool);
    pool.map(wait_at_gate, std::vector<int>(3), {.chunksize = 1});
  });
  REQUIRE(oracle::arrived(3));
  ::kill(static_cast<pid_t>(oracle::page.words[9]), SIGKILL);
  ::kill(owner, SIGKILL);
  CHECK(Subreaper::all_gone());
}

TEST_CASE("when the fork server is killed, every handle gets an outcome") {
  ProcessPool pool(2);
  oracle::Fresh fresh;
  auto running = pool.map_async(wait_at_gate, std::vector<int>(5), {.chunksize = 1});
  REQUIRE(oracle::arrived(2));
  auto queued = pool.apply_async(wait_at_gate, 1);
  ::kill(server_of(pool), SIGKILL);
  REQUIRE(running.wait(60s));
  REQUIRE(queued.wait(60s));
  CHECK_THROWS_AS(running.get(), libpool::PoolError);
  CHECK_THROWS_AS(queued.get(), libpool::PoolBroken);
}

TEST_CASE("when the fork server is killed, calls that block throw") {
  ProcessPool pool(2);
  oracle::Fresh fresh;
  const pid_t server = server_of(pool);
  std::jthread killer([server] {
    static_cast<void>(oracle::arrived(2));
    ::kill(server, SIGKILL);
  });
  CHECK_THROWS_AS(pool.map(wait_at_gate, std::vector<int>(5), {.chunksize = 1}),
                  libpool::PoolError);
}

TEST_CASE("when the fork server is killed, a range ends with an error") {
  ProcessPool pool(2);
  oracle::Fresh fresh;
  auto results = pool.imap(wait_at_gate, std::views::iota(0));
  REQUIRE(oracle::arrived(2));
  ::kill(server_of(pool), SIGKILL);
  const auto read_all = [&] {
    while (results.next()) {
    }
  };
  CHECK_THROWS_AS(read_all(), libpool::PoolError);
}

TEST_CASE("when the fork server is killed, later submissions throw PoolBroken with a cause") {
  ProcessPool pool(2);
  pool.map(crash::work, orders(3, {}));
  ::kill(server_of(pool), SIGKILL);
  bool broken = false;
  REQUIRE(oracle::eventually([&] {
    try {
      static_cast<void>(pool.apply_async(wait_at_gate, 1).wait(1ms));
    } catch (const libpool::PoolBroken& error) {
      broken = error.cause() != nullptr;
      return true;
    }
    return false;
  }));
  CHECK(broken);
  CHECK_THROWS_AS(pool.apply(wait_at_gate, 1), libpool::PoolBroken);
  CHECK_NOTHROW(static_cast<void>(pool.stats()));
  CHECK_NOTHROW(pool.close());
  CHECK_NOTHROW(pool.join());
}

TEST_CASE("when the fork server is killed, its workers die") {
  ProcessPool pool(3);
  oracle::Fresh fresh;
  auto handle = pool.map_async(wait_at_gate, std::vector<int>(3), {.chunksize = 1});
  REQUIRE(oracle::arrived(3));
  std::vector<oracle::Watched> workers;
  for (const auto& worker : pool.stats().workers) workers.emplace_back(worker.pid);
  ::kill(server_of(pool), SIGKILL);
  REQUIRE(workers.size() == 3);
  for (const auto& worker : workers) CHECK(worker.dies());
}

TEST_CASE("the end of one pool's fork server leaves the other pools alone") {
  ProcessPool one(2);
  ProcessPool two(2);
  oracle::Fresh fresh;
  ::kill(server_of(one), SIGKILL);
  check_all_right(by_map(two, orders(50, {})));
}

TEST_CASE("signals for the terminal's foreground group do not reach the workers") {
  ProcessPool pool(2);
  const pid_t group = pool.apply([] { return ::getpgrp(); });
  CHECK(group != ::getpgrp());
}
