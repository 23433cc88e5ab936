/// Facts about the fork server and its client: spawning, reports, and what any end leaves behind.
#include <worker/fork_server.hpp>

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <csignal>
#include <thread>
#include <vector>

#include <tests/support/replaced.hpp>
#include <tests/support/server_fixture.hpp>

using namespace libpool;
using namespace libpool::testing;
using detail::system_calls;
using worker::Report;
using worker::WorkerStart;

namespace {

/// Word 0 of the page is the error that the replaced calls give; 0: they do their work.
int error_wanted() {
  errno = static_cast<int>(oracle::page.words[0]);
  return errno;
}

void check_end(worker::WorkerMain main, int code, int status) {
  TestPool pool(1, main);
  const Report report = pool.run_one();
  CHECK(report.code == code);
  CHECK(report.status == status);
}

/// A sacrificial host: starts a pool with a worker and a stray, tells their pids, then waits to be
/// killed.
pid_t start_host(void (*begin)() = nullptr) {
  const pid_t host = ::fork();
  if (host != 0) return host;
  ::alarm(120);
  if (begin != nullptr) begin();
  TestPool pool(1, [](const WorkerStart& start) {
    leave_stray(3);
    sleep_for_ever(start);
  });
  pool.server.spawn(0, 1, 1);
  const Event spawned = pool.expect(Kind::spawned);
  oracle::page.words[1] = pool.server.pid();
  oracle::page.words[2] = spawned.report.pid;
  for (;;) ::pause();
}

}  // namespace

TEST_CASE("the end of a worker is reported exactly") {
  check_end([](const WorkerStart&) { ::_exit(0); }, CLD_EXITED, 0);
  check_end([](const WorkerStart&) { ::_exit(3); }, CLD_EXITED, 3);
  check_end([](const WorkerStart&) { std::exit(255); }, CLD_EXITED, 255);
  check_end([](const WorkerStart&) { ::raise(SIGSEGV); }, CLD_KILLED, SIGSEGV);
  check_end([](const WorkerStart&) { std::abort(); }, CLD_KILLED, SIGABRT);
  check_end([](const WorkerStart&) { ::raise(SIGTERM); }, CLD_KILLED, SIGTERM);
  check_end([](const WorkerStart&) { ::raise(SIGPIPE); }, CLD_KILLED, SIGPIPE);
  check_end([](const WorkerStart&) { ::kill(::getpid(), SIGKILL); }, CLD_KILLED, SIGKILL);
}

TEST_CASE("a spawned worker is reported with its pid, a pidfd and its socket") {
  TestPool pool(3, [](const WorkerStart& start) {
    if (::write(start.socket, &start.index, sizeof start.index) < 0) ::_exit(1);
    sleep_for_ever(start);
  });
  pool.server.spawn(2, 1, 7);
  const Event event = pool.expect(Kind::spawned);
  CHECK(event.report.worker == 2);
  CHECK(event.report.generation == 7);
  CHECK(oracle::parent_of(event.report.pid) == pool.server.pid());
  std::uint32_t index = 0;
  pollfd socket{event.socket.get(), POLLIN, 0};
  REQUIRE(::poll(&socket, 1, 60'000) == 1);
  CHECK(::read(event.socket.get(), &index, sizeof index) == sizeof index);
  CHECK(index == 2);
  CHECK(::kill(event.report.pid, SIGKILL) == 0);
  pollfd process{event.pidfd.get(), POLLIN, 0};
  CHECK(::poll(&process, 1, 60'000) == 1);
}

TEST_CASE("the place of a dead worker is filled again") {
  TestPool pool(2, [](const WorkerStart& start) { ::_exit(static_cast<int>(start.generation)); });
  for (std::uint32_t generation = 1; generation <= 20; ++generation) {
    const Report report = pool.run_one(generation);
    CHECK(report.generation == generation);
    CHECK(report.status == static_cast<int>(generation));
  }
}

TEST_CASE("a start asked for early waits for the predecessor's end") {
  TestPool pool(1, &sleep_for_ever);
  pool.server.spawn(0, 1, 1);
  const Event first = pool.expect(Kind::spawned);
  pool.server.spawn(0, 1, 2);
  ::kill(first.report.pid, SIGKILL);
  const Event end = *pool.next();
  CHECK(end.report.kind == Kind::exited);
  CHECK(end.report.generation == 1);
  const Event second = *pool.next();
  CHECK(second.report.kind == Kind::spawned);
  CHECK(second.report.generation == 2);
}

TEST_CASE("more reports than the channel holds are all delivered") {
  constexpr std::uint32_t workers = 400;
  TestPool pool(workers, [](const WorkerStart&) { ::_exit(5); });
  pool.server.spawn(0, workers, 1);
  ::usleep(300'000);  // lets the channel fill, which no correct server minds
  std::vector<int> seen(workers, 0);
  for (std::uint32_t reports = 0; reports < 2 * workers; ++reports) {
    const auto event = pool.next();
    REQUIRE(event);
    int& state = seen[event->report.worker];
    CHECK(event->report.kind == (state == 0 ? Kind::spawned : Kind::exited));
    if (state == 0) CHECK((event->pidfd && event->socket));
    ++state;
  }
}

TEST_CASE("kill ends a worker of the given generation only") {
  TestPool pool(2, &sleep_for_ever);
  pool.server.spawn(0, 1, 4);
  const Event event = pool.expect(Kind::spawned);
  pool.server.kill(0, 3);
  pool.server.spawn(1, 1, 1);
  (void)pool.expect(Kind::spawned);  // so the request before it has been read
  pollfd process{event.pidfd.get(), POLLIN, 0};
  CHECK(::poll(&process, 1, 50) == 0);
  pool.server.kill(0, 4);
  const Report report = pool.expect(Kind::exited).report;
  CHECK(report.status == SIGKILL);
  CHECK(report.pid == event.report.pid);
}

TEST_CASE(
    "a worker that cannot be started is reported with the error, and a later start succeeds") {
  oracle::Fresh fresh;
  const auto fails = [](auto& entry, auto by, int error) {
    oracle::page.words[0] = 0;
    const Replaced replaced(entry, static_cast<std::decay_t<decltype(entry)>>(by));
    TestPool pool(1, [](const WorkerStart&) { ::_exit(0); });
    oracle::page.words[0] = error;
    pool.server.spawn(0, 1, 1);
    const Event event = *pool.next();
    CHECK(event.report.kind == Kind::fork_failed);
    CHECK(event.report.error == error);
    oracle::page.words[0] = 0;
    pool.server.spawn(0, 1, 2);
    CHECK(pool.expect(Kind::exited).report.generation == 2);
  };
  fails(system_calls.fork, [] { return error_wanted() != 0 ? -1 : ::fork(); }, EAGAIN);
  fails(
      system_calls.socketpair,
      [](int domain, int type, int protocol, int* ends) {
        return error_wanted() != 0 ? -1 : ::socketpair(domain, type, protocol, ends);
      },
      EMFILE);
  fails(
      system_calls.pidfd_open,
      [](pid_t pid, unsigned flags) {
        return error_wanted() != 0 ? -1 : static_cast<int>(::syscall(SYS_pidfd_open, pid, flags));
      },
      EMFILE);
}

TEST_CASE("a server that cannot begin is an error of start") {
  const auto no_memory = [](void*, std::size_t, int, int, int, off_t) {
    errno = ENOMEM;
    return MAP_FAILED;
  };
  const Replaced replaced(system_calls.mmap, +no_memory);
  try {
    TestPool pool(1, &sleep_for_ever);
    FAIL("no error");
  } catch (const std::system_error& error) {
    CHECK(error.code().value() == ENOMEM);
  }
}

TEST_CASE("a fork that fails is an error of start that names it") {
  const auto fails = []() -> pid_t {
    errno = EAGAIN;
    return -1;
  };
  const Replaced replaced(system_calls.fork, +fails);
  CHECK_THROWS_WITH_AS(TestPool(1, &sleep_for_ever), doctest::Contains("fork"), std::system_error);
}

TEST_CASE("a pool has a process group of its own, out of reach of the terminal's signals") {
  TestPool pool(1, &sleep_for_ever);
  pool.server.spawn(0, 1, 1);
  const Event event = pool.expect(Kind::spawned);
  CHECK(::getpgid(pool.server.pid()) == pool.server.pid());
  CHECK(::getpgid(event.report.pid) == pool.server.pid());
}

TEST_CASE("signals that end other programs don't end a server") {
  TestPool pool(1, [](const WorkerStart&) { ::_exit(0); });
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGALRM, SIGPIPE}) {
    CHECK(::kill(pool.server.pid(), signal) == 0);
  }
  CHECK(pool.run_one().code == CLD_EXITED);
}

TEST_CASE("after shut_down every process of the pool is gone, also those that tasks left behind") {
  oracle::Fresh fresh;
  TestPool pool(4, [](const WorkerStart& start) {
    leave_stray(start.index);
    if (start.index == 0) ::_exit(0);
    sleep_for_ever(start);
  });
  pool.server.spawn(0, 4, 1);
  std::vector<oracle::Watched> watched;
  for (std::size_t worker = 0; worker < 4; ++worker) {
    watched.emplace_back(pool.expect(Kind::spawned).report.pid);
    watched.emplace_back(pid_in_word(worker));
    CHECK(watched.back().found());
  }
  pool.server.shut_down();
  for (const auto& process : watched) CHECK(process.dead());
  CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
  pool.server.shut_down();
}

TEST_CASE("a stopped server is ended too") {
  TestPool pool(1, &sleep_for_ever);
  ::kill(pool.server.pid(), SIGSTOP);
  CHECK(oracle::eventually([&] { return oracle::stopped(pool.server.pid()); }));
}

TEST_CASE("the host's SIGKILL takes everything with it") {
  oracle::Fresh fresh;
  const pid_t host = start_host();
  std::vector<oracle::Watched> watched;
  for (std::size_t word = 1; word <= 3; ++word) {
    watched.emplace_back(pid_in_word(word));
    CHECK(watched.back().found());
  }
  ::kill(host, SIGKILL);
  ::waitpid(host, nullptr, 0);
  for (const auto& process : watched) CHECK(process.dies());
}

TEST_CASE("the host's death is seen though another child of it holds the channel open") {
  oracle::Fresh fresh;
  const pid_t host = ::fork();
  if (host == 0) {
    TestPool pool(1, &sleep_for_ever);
    oracle::page.words[1] = pool.server.pid();
    if (::fork() == 0) {
      oracle::page.words[2] = ::getpid();
      ::alarm(120);
      for (;;) ::pause();
    }
    for (;;) ::pause();
  }
  const oracle::Watched server(pid_in_word(1));
  const pid_t other = pid_in_word(2);
  ::kill(host, SIGKILL);
  ::waitpid(host, nullptr, 0);
  CHECK(server.dies());
  ::kill(other, SIGKILL);
}

TEST_CASE("workers die with a server that is killed, and the client sees that it is lost") {
  oracle::Fresh fresh;
  TestPool pool(3, &sleep_for_ever);
  pool.server.spawn(0, 3, 1);
  std::vector<Event> workers;
  for (int i = 0; i < 3; ++i) workers.push_back(pool.expect(Kind::spawned));
  ::kill(pool.server.pid(), SIGKILL);
  CHECK_FALSE(pool.next());
  CHECK(pool.server.lost());
  pool.server.shut_down();
  for (const Event& worker : workers) supervise::await_death(worker.pidfd.get());
}

TEST_CASE("shut_down after the server's death waits for workers that nobody was told of") {
  for (int round = 0; round < 10; ++round) {
    oracle::Fresh fresh;
    TestPool pool(4, [](const WorkerStart& start) {
      oracle::page.words[start.index] = ::getpid();
      sleep_for_ever(start);
    });
    pool.server.spawn(0, 4, 1);
    std::vector<oracle::Watched> watched;
    for (std::size_t word = 0; word < 3; ++word) watched.emplace_back(pid_in_word(word));
    const oracle::Watched last(pid_in_word(3));  // forked after the others have been reported
    ::kill(pool.server.pid(), SIGKILL);
    pool.server.shut_down();
    for (const auto& process : watched) CHECK(process.dead());
    CHECK(last.dies());
  }
}

TEST_CASE("a host that ignores SIGCHLD gets the same reports") {
  CHECK(oracle::exit_of_child([] {
          ::signal(SIGCHLD, SIG_IGN);
          TestPool pool(1, [](const WorkerStart&) { ::_exit(6); });
          const int status = pool.run_one().status;
          pool.server.shut_down();
          return status;
        }) == 6);
}

TEST_CASE("a host that reaps every child in a thread of its own gets the same reports") {
  CHECK(oracle::exit_of_child([] {
          std::jthread thief([](std::stop_token stop) {
            while (!stop.stop_requested()) {
              if (::waitpid(-1, nullptr, WNOHANG) < 0) ::usleep(100);
            }
          });
          int status = 0;
          for (int i = 0; i < 10; ++i) {
            TestPool pool(1, [](const WorkerStart&) { ::_exit(6); });
            status |= pool.run_one().status;
          }
          return status;
        }) == 6);
}

TEST_CASE("a server does nothing in a child that the host forks") {
  TestPool pool(1, [](const WorkerStart&) { ::_exit(1); });
  CHECK(oracle::exit_of_child([&] {
          pool.server.shut_down();
          return 0;
        }) == 0);
  CHECK(pool.run_one().status == 1);
}

TEST_CASE("a pool in a worker has a server of its own") {
  TestPool pool(1, [](const WorkerStart&) {
    TestPool nested(1, [](const WorkerStart&) { ::_exit(8); });
    ::_exit(nested.run_one().status);
  });
  CHECK(pool.run_one().status == 8);
}

TEST_CASE("pools can be started and ended by many threads at once") {
  std::vector<std::jthread> threads;
  std::atomic<int> right{0};
  for (int thread = 0; thread < 6; ++thread) {
    threads.emplace_back([&right] {
      for (int i = 0; i < 5; ++i) {
        TestPool pool(2, [](const WorkerStart&) { ::_exit(2); });
        right += pool.run_one().status == 2 ? 1 : 0;
      }
    });
  }
  threads.clear();
  CHECK(right == 30);
}
