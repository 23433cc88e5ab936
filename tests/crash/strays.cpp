/// Processes that tasks leave behind, and tasks that fork.
///
/// The tests run in the parent; the strays are made in workers.
#include <sys/prctl.h>

#include "matrix.hpp"

using namespace crash;
using libpool::ProcessPool;

namespace {

enum class Manner { plain, new_session, double_fork, deaf };

/// Forks a process that never ends by itself; gives its pid.
int leave_behind(Manner manner) {
  oracle::page.words[8] = 0;
  const pid_t child = ::fork();
  if (child == 0) {
    if (manner == Manner::new_session) ::setsid();
    if (manner == Manner::double_fork && ::fork() != 0) ::_exit(0);
    if (manner == Manner::deaf) {
      for (int signal = 1; signal < 32; ++signal) std::signal(signal, SIG_IGN);
    }
    oracle::page.words[8] = ::getpid();
    for (;;) ::pause();
  }
  while (oracle::page.words[8] == 0) std::this_thread::sleep_for(std::chrono::milliseconds{1});
  return static_cast<int>(oracle::page.words[8]);
}

constexpr std::array manners{Manner::plain, Manner::new_session, Manner::double_fork, Manner::deaf};

}  // namespace

TEST_CASE("processes that a task leaves behind are gone when the pool has ended") {
  for (const Manner manner : manners) {
    CAPTURE(static_cast<int>(manner));
    std::optional<oracle::Watched> stray;
    {
      ProcessPool pool(2);
      stray.emplace(pool.apply(leave_behind, manner));
      REQUIRE(stray->found());
      CHECK_FALSE(stray->dead());
    }
    CHECK(stray->dead());
  }
}

TEST_CASE("strays are gone after close and join as well") {
  ProcessPool pool(2);
  const oracle::Watched stray(pool.apply(leave_behind, Manner::new_session));
  pool.close();
  pool.join();
  CHECK(stray.dead());
}

TEST_CASE("strays of a worker that has died are gone when the pool has ended") {
  std::optional<oracle::Watched> stray;
  {
    ProcessPool pool(1);
    CHECK_THROWS_AS(pool.apply([]() -> int {
      oracle::page.words[9] = leave_behind(Manner::plain);
      ::_exit(1);
    }),
                    libpool::WorkerCrashed);
    stray.emplace(static_cast<pid_t>(oracle::page.words[9]));
    CHECK(pool.apply([] { return 5; }) == 5);
  }
  CHECK(stray->dead());
}

TEST_CASE("a stray that keeps a worker's descriptors open delays no death notice") {
  ProcessPool pool(1);
  for (int i = 0; i < 5; ++i) {
    CHECK_THROWS_AS(pool.apply([]() -> int {
      static_cast<void>(leave_behind(Manner::plain));
      ::kill(::getpid(), SIGKILL);
      return 0;
    }),
                    libpool::WorkerCrashed);
  }
  CHECK(pool.apply([] { return 5; }) == 5);
}

TEST_CASE("a process pool that a task leaves running is gone when the outer pool has ended") {
  std::optional<oracle::Watched> inner_worker;
  {
    ProcessPool pool(1);
    inner_worker.emplace(pool.apply([] {
      auto* leaked = new ProcessPool(1);
      return static_cast<int>(leaked->apply([] { return ::getpid(); }));
    }));
    REQUIRE(inner_worker->found());
  }
  CHECK(inner_worker->dies());
}

TEST_CASE("a task may fork and wait for its child") {
  ProcessPool pool(2);
  CHECK(pool.apply([] { return oracle::exit_of_child([] { return 7; }); }) == 7);
}

TEST_CASE("a task may run a command") {
  ProcessPool pool(1);
  CHECK(pool.apply([] { return WEXITSTATUS(std::system("exit 6")); }) == 6);
}

TEST_CASE("a forked child that returns from its task too does no harm") {
  ProcessPool pool(2);
  for (int round = 0; round < 10; ++round) {
    const auto outcomes = pool.try_map(
        [](int item) {
          if (item == 3) ::fork();
          return item;
        },
        std::views::iota(0, 10), {.chunksize = 5});
    REQUIRE(outcomes.size() == 10);
    for (const auto& outcome : outcomes) {
      REQUIRE(outcome.has_value());
      CHECK(*outcome == static_cast<int>(outcome.index()));
    }
  }
}

TEST_CASE("a forked child that leaves by exit is not the death of its worker") {
  ProcessPool pool(1);
  CHECK(pool.apply([] {
    const pid_t child = ::fork();
    if (child == 0) std::exit(3);
    int status = 0;
    ::waitpid(child, &status, 0);
    return WEXITSTATUS(status);
  }) == 3);
  CHECK(pool.stats().workers_lost == 0);
}

TEST_CASE("a task that starts a thread which outlives it does no harm") {
  ProcessPool pool(1);
  CHECK(pool.apply([] {
    std::thread([] { std::this_thread::sleep_for(std::chrono::hours{1}); }).detach();
    return 1;
  }) == 1);
  CHECK(pool.apply([] { return 2; }) == 2);
}

TEST_CASE("a thread of a task that crashes kills the worker while it runs what it runs") {
  ProcessPool pool(1);
  oracle::Fresh fresh;
  CHECK_THROWS_AS(pool.apply([]() -> int {
    std::thread([] { std::abort(); }).detach();
    for (;;) ::pause();
  }),
                  libpool::WorkerCrashed);
  CHECK(pool.apply([] { return 2; }) == 2);
}

TEST_CASE("a task that leads a new process group or session is still a worker of the pool") {
  ProcessPool pool(1);
  CHECK(pool.apply([] { return ::setsid() > 0 || ::setpgid(0, 0) == 0; }));
  CHECK(pool.apply([] { return 2; }) == 2);
}

TEST_CASE("a task that closes every descriptor loses at most its worker") {
  ProcessPool pool(1);
  const auto outcomes = pool.try_map(
      [](int item) {
        if (item == 0) {
          for (int fd = 3; fd < 1024; ++fd) ::close(fd);
        }
        return item;
      },
      std::views::iota(0, 20), {.chunksize = 2});
  for (std::size_t i = 2; i < 20; ++i) CHECK(outcomes[i].has_value());
  CHECK(pool.apply([] { return 2; }) == 2);
}

TEST_CASE("a task that blocks every signal can still be cancelled") {
  ProcessPool pool(1);
  oracle::Fresh fresh;
  auto handle = pool.apply_async([] {
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_BLOCK, &all, nullptr);
    oracle::pass_gate();
    return 0;
  });
  REQUIRE(oracle::arrived(1));
  CHECK(handle.cancel());
  CHECK_THROWS_AS(handle.get(), libpool::TaskCancelled);
  CHECK(pool.apply([] { return 2; }) == 2);
}
