/// Hosts of all kinds: with threads, signal handlers, children and namespaces of their own.
///
/// Each host is a child of the test, so that its dispositions and threads are its own.
#include "hosts.hpp"
#include "subreaper.hpp"

#include <sched.h>
#include <sys/prctl.h>

#include <mutex>

using namespace crash;
using libpool::ProcessPool;
using namespace std::chrono_literals;

namespace {

constexpr int rounds = oracle::sanitized ? 2 : 10;

int verdict(bool right) { return right ? all_right : wrong; }

/// Threads that are for ever in the midst of an allocation, of output, and under a lock.
class BusyThreads {
 public:
  BusyThreads() {
    for (int i = 0; i < 6; ++i) {
      threads_.emplace_back([this](const std::stop_token& end) {
        while (!end.stop_requested()) {
          const std::lock_guard lock(mutex_);
          const std::string text(static_cast<std::size_t>(std::rand() % 5000), 'x');
          const std::vector<std::string> copies(10, text);
          std::fprintf(stdout, "%s", "");
        }
      });
    }
  }

 private:
  std::mutex mutex_;
  std::vector<std::jthread> threads_;
};

}  // namespace

TEST_CASE("a host whose threads allocate and lock all the time has its workers replaced") {
  CHECK(oracle::exit_of_child([] {
          const BusyThreads threads;
          ProcessPool pool(2, {.max_tasks_per_child = 1});
          const auto results = pool.map(twice, numbers(20 * rounds), {.chunksize = 1});
          bool right = results.back() == 2 * (20 * rounds - 1);
          for (int round = 0; round < rounds; ++round) right = serves_and_ends() && right;
          return verdict(right);
        }) == all_right);
}

TEST_CASE("a host that ignores SIGCHLD has a pool as others do") {
  CHECK(oracle::exit_of_child([] {
          ::signal(SIGCHLD, SIG_IGN);
          bool right = true;
          for (int round = 0; round < rounds; ++round) right = serves_and_ends() && right;
          return verdict(right && ::waitpid(-1, nullptr, WNOHANG) < 0);
        }) == all_right);
}

TEST_CASE("a host that reaps any child at any time has a pool as others do") {
  CHECK(oracle::exit_of_child([] {
          const std::jthread reaper([](const std::stop_token& end) {
            while (!end.stop_requested()) {
              if (::waitpid(-1, nullptr, WNOHANG) <= 0) ::usleep(50);
            }
          });
          bool right = true;
          for (int round = 0; round < rounds; ++round) right = serves_and_ends() && right;
          return verdict(right);
        }) == all_right);
}

TEST_CASE("a host's blocked signals and crash handler are not its workers'") {
  // A sanitizer's own handler is wanted in workers.
  CHECK(oracle::exit_of_child([] {
          sigset_t all;
          ::sigfillset(&all);
          ::sigprocmask(SIG_SETMASK, &all, nullptr);
          struct sigaction handler{};
          handler.sa_handler = [](int) { ::_exit(0); };
          handler.sa_flags = SA_ONSTACK;
          ::sigaction(SIGSEGV, &handler, nullptr);
          ProcessPool pool(1);
          const bool open = pool.apply([] {
            sigset_t blocked;
            ::sigprocmask(SIG_BLOCK, nullptr, &blocked);
            return ::sigisemptyset(&blocked) == 1;
          });
          int signal = 0;
          try {
            pool.apply([]() -> int { return ::raise(SIGSEGV); });
          } catch (const libpool::WorkerCrashed& error) {
            signal = error.signal().value_or(0);
          }
          struct sigaction still{};
          ::sigaction(SIGSEGV, nullptr, &still);
          sigset_t mask;
          ::sigprocmask(SIG_BLOCK, nullptr, &mask);
          const bool kept =
              still.sa_handler == handler.sa_handler && ::sigismember(&mask, SIGTERM) == 1;
          return verdict(open && signal == SIGSEGV && kept && serves(pool));
        }) == all_right);
}

TEST_CASE("a host's own children that hold the pool's descriptors keep nothing of it alive") {
  CHECK(oracle::exit_of_child([] {
          ::prctl(PR_SET_CHILD_SUBREAPER, 1);
          std::vector<pid_t> holders;
          const auto hold = [&] {
            const pid_t child = ::fork();
            if (child == 0) {
              for (;;) ::pause();
            }
            holders.push_back(child);
          };
          bool right = true;
          {
            ProcessPool pool(2, small_options());
            hold();
            right = serves(pool) && right;
            hold();
            pool.close();
            pool.join();
          }
          {
            ProcessPool pool(2, small_options());
            hold();
            const pid_t server = oracle::parent_of(pool.apply([] { return ::getpid(); }));
            ::kill(server, SIGKILL);
            right =
                throws<libpool::PoolError>([&] { pool.map(sleep, std::vector<unsigned>{99}); }) &&
                right;
          }
          for (const pid_t holder : holders) {
            ::kill(holder, SIGKILL);
            ::waitpid(holder, nullptr, 0);
          }
          right = Subreaper::all_gone() && right;
          return verdict(right);
        }) == all_right);
}

TEST_CASE("when a host is killed, its own children keep nothing of the pool alive") {
  const Subreaper reaper;
  oracle::page.arrived = 0;
  oracle::page.words[8] = 0;
  const pid_t parent = ::fork();
  if (parent == 0) {
    ProcessPool pool(2, small_options());
    const pid_t child = ::fork();
    if (child == 0) {
      for (;;) ::pause();
    }
    oracle::page.words[8] = child;
    pool.map(
        [](int) -> int {
          ++oracle::page.arrived;
          for (;;) ::pause();
        },
        numbers(2), {.chunksize = 1});
  }
  REQUIRE(oracle::arrived(2));
  const auto holder = static_cast<pid_t>(oracle::page.words[8]);
  ::kill(parent, SIGKILL);
  // All but the host's own child.
  CHECK(oracle::eventually([&] {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    std::ifstream list("/proc/thread-self/children");
    pid_t one = 0;
    pid_t two = 0;
    list >> one >> two;
    return one == holder && two == 0;
  }));
  ::kill(holder, SIGKILL);
  CHECK(Subreaper::all_gone());
}

TEST_CASE("a host that is the first process of a PID namespace has a pool as others do") {
  // /proc is still that of the outer namespace: its numbers mean other processes.
  const int status = oracle::exit_of_child([] {
    if (::unshare(CLONE_NEWPID) != 0) return static_cast<int>(not_permitted);
    return oracle::exit_of_child([] {
      if (::getpid() != 1) return static_cast<int>(wrong);
      bool right = true;
      for (int round = 0; round < rounds; ++round) right = serves_and_ends() && right;
      oracle::page.words[8] = 0;
      {
        ProcessPool pool(1, small_options());
        pool.apply([] {
          if (::fork() == 0) {
            oracle::page.words[8] = ::getpid();
            for (;;) ::pause();
          }
          while (oracle::page.words[8] == 0) ::usleep(100);
          return 0;
        });
      }
      // The stray may die a moment later; nobody else can be its parent.
      right = oracle::eventually([] {
                while (::waitpid(-1, nullptr, WNOHANG) > 0) {
                }
                return ::kill(static_cast<pid_t>(oracle::page.words[8]), 0) != 0;
              }) &&
              right;
      return verdict(right);
    });
  });
  if (status == not_permitted) {
    MESSAGE("skipped: PID namespaces are not permitted here");
    return;
  }
  CHECK(status == all_right);
}

namespace {

/// A host that leads a process group of its own and writes to a pipe.
struct Group {
  pid_t leader = 0;
  int output = -1;

  /// Everything that its processes wrote, until none of them is left.
  [[nodiscard]] std::string all_output() const {
    std::string text;
    char part[512];
    while (true) {
      pollfd ready{output, POLLIN, 0};
      if (::poll(&ready, 1, 60'000) != 1) return text + " and is still alive";
      const ssize_t bytes = ::read(output, part, sizeof part);
      if (bytes <= 0) return text;
      text.append(part, static_cast<std::size_t>(bytes));
    }
  }
};

template <class Body>
Group start_group(Body body) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  std::fflush(nullptr);
  Group group{::fork(), ends[0]};
  if (group.leader == 0) {
    ::alarm(120);
    ::setpgid(0, 0);
    ::dup2(ends[1], STDOUT_FILENO);
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    ::_exit(body());
  }
  ::close(ends[1]);
  return group;
}

int wait_at_gate(int item) {
  oracle::pass_gate();
  return item;
}

volatile std::sig_atomic_t interrupts = 0;

}  // namespace

TEST_CASE("Ctrl-C in the midst of a map ends the host, and silently all of its workers") {
  const Subreaper reaper;
  for (int round = 0; round < rounds; ++round) {
    oracle::page.gate_open = 0;
    oracle::page.arrived = 0;
    const Group group = start_group([] {
      ProcessPool pool(3);
      pool.map(wait_at_gate, numbers(30), {.chunksize = 1});
      return 0;
    });
    REQUIRE(oracle::arrived(3));
    ::kill(-group.leader, SIGINT);
    CHECK(group.all_output() == "");
    ::close(group.output);
    CHECK(Subreaper::all_gone());
  }
}

TEST_CASE("Ctrl-C is the host's to handle: its map goes on") {
  const Subreaper reaper;
  oracle::page.gate_open = 0;
  oracle::page.arrived = 0;
  const Group group = start_group([] {
    ::signal(SIGINT, [](int) { interrupts = interrupts + 1; });
    ProcessPool pool(3);
    const auto results = pool.map(wait_at_gate, numbers(30), {.chunksize = 1});
    return verdict(results == numbers(30) && interrupts == 1);
  });
  REQUIRE(oracle::arrived(3));
  ::kill(-group.leader, SIGINT);
  // The handler runs before the gate opens.
  std::this_thread::sleep_for(10ms);
  oracle::page.gate_open = 1;
  int status = -1;
  CHECK(::waitpid(group.leader, &status, 0) == group.leader);
  CHECK(status == all_right);
  CHECK(group.all_output() == "");
  ::close(group.output);
  CHECK(Subreaper::all_gone());
}
