/// Facts about `prefork()`: what later pools share, and that nothing remains of the root.
///
/// Each test runs in a child that it sacrifices, because a root lives as long as its program.
#include <libpool/prefork.hpp>

#include <doctest/doctest.h>

#include <csignal>
#include <thread>
#include <vector>

#include <libpool/detail/prefork_root.hpp>
#include <tests/support/server_fixture.hpp>

using namespace libpool;
using namespace libpool::testing;
using worker::WorkerStart;

namespace {

int global_state = 1;

bool agrees(int (*program)()) {
  oracle::Fresh fresh;
  return oracle::exit_of_child(program) == 0;
}

pid_t root_pid() {
  TestPool pool(1, &sleep_for_ever);
  return oracle::parent_of(pool.server.pid());
}

void exits_2(const WorkerStart&) { ::_exit(2); }

}  // namespace

TEST_CASE("pools after prefork have servers of the root, and reports as ever") {
  CHECK(agrees([] {
    prefork();
    const pid_t root = root_pid();
    prefork();
    const bool shared = root != ::getpid() && root == root_pid();
    TestPool pool(1, &exits_2);
    return shared && pool.run_one().status == 2 ? 0 : 1;
  }));
}

TEST_CASE("workers of the root see the program as it was at prefork") {
  CHECK(agrees([] {
    prefork();
    global_state = 5;
    return TestPool(1, [](const WorkerStart&) { ::_exit(global_state); }).run_one().status - 1;
  }));
}

TEST_CASE("a pool with an initializer forks its own server") {
  CHECK(agrees([] {
    prefork();
    TestPool pool(1, &exits_2, [] {});
    return oracle::parent_of(pool.server.pid()) == ::getpid() && pool.run_one().status == 2 ? 0 : 1;
  }));
}

TEST_CASE("many threads share the root, and after their pools' ends nothing is left of them") {
  CHECK(agrees([] {
    std::atomic<int> right{0};
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 6; ++thread) {
      threads.emplace_back([&right] {
        prefork();
        for (int i = 0; i < 5; ++i) {
          TestPool pool(2, &exits_2);
          const pid_t server = pool.server.pid();
          const bool reported = pool.run_one().status == 2;
          pool.server.shut_down();
          right += reported && ::kill(server, 0) != 0 ? 1 : 0;  // reaped by the root
        }
      });
    }
    threads.clear();
    return right == 30 ? 0 : 1;
  }));
}

TEST_CASE("if the root has died, pools fork their own servers and old ones go on") {
  CHECK(agrees([] {
    prefork();
    TestPool old(1, &exits_2);
    ::kill(oracle::parent_of(old.server.pid()), SIGKILL);
    if (!oracle::eventually([] { return detail::root_of_this_process() == nullptr; })) return 2;
    TestPool fresh(1, &exits_2);
    if (oracle::parent_of(fresh.server.pid()) != ::getpid()) return 3;
    return old.run_one().status == 2 && fresh.run_one().status == 2 ? 0 : 1;
  }));
}

TEST_CASE("the program's SIGKILL ends the root, its servers, their workers and strays") {
  oracle::Fresh fresh;
  const pid_t host = ::fork();
  if (host == 0) {
    ::alarm(120);
    prefork();
    TestPool pool(1, [](const WorkerStart& start) {
      leave_stray(3);
      sleep_for_ever(start);
    });
    pool.server.spawn(0, 1, 1);
    oracle::page.words[2] = pool.expect(Kind::spawned).report.pid;
    oracle::page.words[1] = pool.server.pid();
    oracle::page.words[0] = oracle::parent_of(pool.server.pid());
    for (;;) ::pause();
  }
  std::vector<oracle::Watched> watched;
  for (std::size_t word = 0; word <= 3; ++word) watched.emplace_back(pid_in_word(word));
  for (const auto& process : watched) CHECK(process.found());
  ::kill(host, SIGKILL);
  ::waitpid(host, nullptr, 0);
  for (const auto& process : watched) CHECK(process.dies());
}

TEST_CASE("the root ends servers that cannot, though another process holds its channel open") {
  oracle::Fresh fresh;
  const pid_t host = ::fork();
  if (host == 0) {
    ::alarm(120);
    prefork();
    TestPool pool(1, &sleep_for_ever);
    pool.server.spawn(0, 1, 1);
    oracle::page.words[2] = pool.expect(Kind::spawned).report.pid;
    if (::fork() == 0) {
      oracle::page.words[3] = ::getpid();
      ::alarm(120);
      for (;;) ::pause();
    }
    ::kill(pool.server.pid(), SIGSTOP);
    oracle::page.words[1] = pool.server.pid();
    oracle::page.words[0] = oracle::parent_of(pool.server.pid());
    for (;;) ::pause();
  }
  std::vector<oracle::Watched> watched;
  for (std::size_t word = 0; word <= 2; ++word) watched.emplace_back(pid_in_word(word));
  for (const auto& process : watched) CHECK(process.found());
  const pid_t other = pid_in_word(3);
  ::kill(host, SIGKILL);
  ::waitpid(host, nullptr, 0);
  for (const auto& process : watched) CHECK(process.dies());
  ::kill(other, SIGKILL);
}

TEST_CASE("the program's ordinary end ends an idle root") {
  oracle::Fresh fresh;
  const pid_t host = ::fork();
  if (host == 0) {
    ::alarm(120);
    prefork();
    oracle::page.words[0] = root_pid();
    oracle::pass_gate();
    ::_exit(0);
  }
  const oracle::Watched root(pid_in_word(0));
  CHECK(root.found());
  oracle::Fresh::open_gate();
  ::waitpid(host, nullptr, 0);
  CHECK(root.dies());
}

TEST_CASE("the root kills what a killed server of it leaves, before shut_down returns") {
  CHECK(agrees([] {
    prefork();
    TestPool pool(1, [](const WorkerStart& start) {
      leave_stray(3);
      sleep_for_ever(start);
    });
    pool.server.spawn(0, 1, 1);
    const Event worker = pool.expect(Kind::spawned);
    const oracle::Watched stray(pid_in_word(3));
    ::kill(pool.server.pid(), SIGKILL);
    pool.server.shut_down();
    pollfd process{worker.pidfd.get(), POLLIN, 0};
    return stray.found() && stray.dead() && ::poll(&process, 1, 0) == 1 ? 0 : 1;
  }));
}

TEST_CASE("prefork does nothing in a worker") {
  CHECK(agrees([] {
    prefork();
    TestPool pool(1, [](const WorkerStart&) {
      prefork();
      TestPool nested(1, &exits_2);
      const bool own = oracle::parent_of(nested.server.pid()) == ::getpid();
      ::_exit(own && nested.run_one().status == 2 ? 0 : 1);
    });
    return pool.run_one().status;
  }));
}

TEST_CASE("a child that the program forks can have a root of its own") {
  CHECK(agrees([] {
    prefork();
    return oracle::exit_of_child([] {
      if (detail::root_of_this_process() != nullptr) return 2;
      TestPool before(1, &exits_2);
      prefork();
      TestPool after(1, &exits_2);
      const bool forked_own = oracle::parent_of(before.server.pid()) == ::getpid();
      return forked_own && oracle::parent_of(after.server.pid()) != ::getpid() ? 0 : 1;
    });
  }));
}
