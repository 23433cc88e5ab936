/// Facts about the first and the last lines of a worker: what it finds mended, and how it leaves.
#include <worker/worker_start.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>
#include <thread>

#include <libpool/libpool.hpp>
#include <tests/support/server_fixture.hpp>

using namespace libpool;
using namespace libpool::testing;
using worker::WorkerStart;

namespace {

/// Runs `main` in one worker; true if it left with 0, which is how these tests say yes.
bool worker_agrees(worker::WorkerMain main, bool core_dumps = false) {
  TestPool pool(1, main, {}, core_dumps);
  const worker::Report report = pool.run_one();
  return report.code == CLD_EXITED && report.status == 0;
}

void leave(bool agreed) { ::_exit(agreed ? 0 : 1); }

/// The links of a process's descriptors, like "socket:[4711]".
std::set<std::string> descriptors_of(pid_t pid) {
  std::set<std::string> links;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    std::error_code gone;
    links.insert(std::filesystem::read_symlink(entry, gone).string());
  }
  return links;
}

std::string link_of(const detail::FileDescriptor& fd) {
  return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd.get())).string();
}

std::size_t sockets_of(pid_t pid) {
  std::size_t found = 0;
  for (const auto& link : descriptors_of(pid)) found += link.starts_with("socket:") ? 1 : 0;
  return found;
}

/// A worker that tells its test when it is mended.
void say_hello_and_sleep(const WorkerStart& start) {
  if (::write(start.socket, "", 1) != 1) ::_exit(1);
  sleep_for_ever(start);
}

void await_hello(const Event& worker) {
  pollfd socket{worker.socket.get(), POLLIN, 0};
  REQUIRE(::poll(&socket, 1, 60'000) == 1);
}

/// Runs `host` in a child whose standard output is a pipe; returns what was written and the exit
/// status.
std::pair<std::string, int> output_of(int (*host)()) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const int status = oracle::exit_of_child([&] {
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    const int result = host();
    std::fflush(stdout);
    return result;
  });
  ::close(ends[1]);
  std::string text(4096, '\0');
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(::read(ends[0], text.data(), 4096), 0)));
  ::close(ends[0]);
  return {text, status};
}

}  // namespace

TEST_CASE("a worker's signals are unblocked and have their default dispositions") {
  ::signal(SIGUSR1, [](int) {});
  ::signal(SIGSEGV, [](int) { ::_exit(0); });
  ::signal(SIGINT, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t some;
  sigemptyset(&some);
  sigaddset(&some, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &some, nullptr);
  CHECK(worker_agrees([](const WorkerStart&) {
    bool mended = true;
    sigset_t mask;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    for (int signal = 1; signal < 32; ++signal) {
      struct sigaction action{};
      ::sigaction(signal, nullptr, &action);
      mended = mended && action.sa_handler == SIG_DFL && sigismember(&mask, signal) == 0;
    }
    stack_t stack{};
    ::sigaltstack(nullptr, &stack);
    leave(mended && (stack.ss_flags & SS_DISABLE) != 0);
  }));
  sigset_t kept;
  ::pthread_sigmask(SIG_UNBLOCK, &some, &kept);
  CHECK(sigismember(&kept, SIGTERM) == 1);
  CHECK(sigismember(&kept, SIGINT) == 0);
  for (const int signal : {SIGUSR1, SIGSEGV, SIGINT, SIGPIPE}) ::signal(signal, SIG_DFL);
}

TEST_CASE("a worker's standard input is empty, also what the host had read ahead of it") {
  CHECK(oracle::exit_of_child([] {
          int ends[2];
          if (::pipe(ends) != 0) return 2;
          ::dup2(ends[0], STDIN_FILENO);
          if (::write(ends[1], "host's own line\nmore\n", 21) != 21) return 3;
          char line[64];
          if (std::fgets(line, sizeof line, stdin) == nullptr) return 4;
          const bool empty = worker_agrees(
              [](const WorkerStart&) { leave(std::getchar() == EOF && std::cin.get() == EOF); });
          // And the host reads on where it was.
          return empty && std::fgets(line, sizeof line, stdin) && line[0] == 'm' ? 0 : 1;
        }) == 0);
}

TEST_CASE(
    "a program with closed standard streams has no descriptor of the library in their place") {
  CHECK(oracle::exit_of_child([] {
          for (int fd = 0; fd <= 2; ++fd) ::close(fd);
          TestPool pool(1, [](const WorkerStart& start) {
            const auto& mine = start.descriptors;
            bool above = start.socket > 2;
            for (int fd : {mine.tasks, mine.claims, mine.lanes, mine.doorbell}) above &= fd > 2;
            // Standard input is /dev/null even so.
            char byte;
            leave(above && ::read(0, &byte, 1) == 0 && ::fcntl(1, F_GETFD) == -1);
          });
          return pool.server.channel() > 2 ? pool.run_one().status : 9;
        }) == 0);
}

TEST_CASE("a worker has the descriptors of its own pool only, not the server's or other workers'") {
  const std::size_t inherited =
      sockets_of(::getpid());  // the test program may be started with some
  TestPool other(1, &sleep_for_ever);
  other.server.spawn(0, 1, 1);
  const Event foreign_worker = other.expect(Kind::spawned);
  const detail::FileDescriptor foreign = make_memfd("foreign");

  TestPool pool(2, &say_hello_and_sleep);
  pool.server.spawn(0, 2, 1);
  const Event first = pool.expect(Kind::spawned);
  const Event second = pool.expect(Kind::spawned);
  await_hello(first);
  await_hello(second);
  for (const pid_t pid : {first.report.pid, second.report.pid, pool.server.pid()}) {
    const auto open = descriptors_of(pid);
    CHECK(open.contains(link_of(pool.tasks)));
    CHECK_FALSE(open.contains(link_of(foreign)));
  }
  CHECK(sockets_of(first.report.pid) == inherited + 1);
  CHECK(sockets_of(second.report.pid) == inherited + 1);
  // The server lets go of a worker's descriptors after it has sent them.
  CHECK(oracle::eventually([&] { return sockets_of(pool.server.pid()) == inherited + 1; }));
  for (const char* kind : {"anon_inode:[signalfd]", "anon_inode:[pidfd]"}) {
    CHECK_FALSE(descriptors_of(second.report.pid).contains(kind));
  }
}

TEST_CASE("a worker writes no core file unless asked to") {
  rlimit before{};
  ::getrlimit(RLIMIT_CORE, &before);
  const rlimit some{.rlim_cur = before.rlim_max, .rlim_max = before.rlim_max};
  ::setrlimit(RLIMIT_CORE, &some);
  const auto core_limit = [](const WorkerStart& start) {
    rlimit limit{};
    ::getrlimit(RLIMIT_CORE, &limit);
    // 1 byte is the kernel's mark for "not to a pipe either".
    leave(start.pool.core_dumps == 0 ? limit.rlim_cur <= 1 : limit.rlim_cur == limit.rlim_max);
  };
  CHECK(worker_agrees(core_limit));
  CHECK(worker_agrees(core_limit, true));
  ::setrlimit(RLIMIT_CORE, &before);
}

TEST_CASE("a server gets the CPU soon where the kernel knows slices, a worker as its host does") {
  const auto slice = [](pid_t pid) {
    detail::SchedulingAttributes attributes{};
    REQUIRE(::syscall(SYS_sched_getattr, pid, &attributes, sizeof attributes, 0) == 0);
    CHECK(attributes.policy == SCHED_OTHER);
    return attributes.slice_ns;
  };
  ProcessPool pool(1);
  pid_t worker = pool.apply(&::getpid);
  const pid_t server = oracle::parent_of(worker);
  const std::uint64_t hosts = slice(0);
  // Not where system calls are watched, as in some containers.
  const bool shortens = hosts != 0 && ::prctl(PR_GET_SECCOMP) == 0;
  const std::uint64_t shortest = shortens ? 100'000 : hosts;
  CHECK(oracle::eventually([&] { return slice(server) == shortest; }));
  CHECK(slice(worker) == hosts);
  // Forked by a server with short slices, or in the spare's place: then it has waited with them.
  for (int deaths = 0; deaths < 4; ++deaths) {
    if (deaths % 2 == 1) ::usleep(30'000);
    ::kill(worker, SIGKILL);
    worker = pool.apply(&::getpid);
    CHECK(slice(worker) == hosts);
  }
}

TEST_CASE("a worker goes before its host when memory runs out") {
  const auto score = [](pid_t pid) {
    int value = -2000;
    std::ifstream("/proc/" + std::to_string(pid) + "/oom_score_adj") >> value;
    return value;
  };
  TestPool pool(1, &say_hello_and_sleep);
  pool.server.spawn(0, 1, 1);
  const Event event = pool.expect(Kind::spawned);
  await_hello(event);
  CHECK(score(event.report.pid) > score(::getpid()));
  CHECK(score(pool.server.pid()) == score(::getpid()));
}

TEST_CASE("two workers draw different random numbers") {
  oracle::Fresh fresh;
  TestPool pool(2, [](const WorkerStart& start) {
    oracle::page.words[start.index] = std::rand();
    ::_exit(0);
  });
  pool.server.spawn(0, 2, 1);
  (void)pool.expect(Kind::exited);
  (void)pool.expect(Kind::exited);
  CHECK(oracle::page.words[0] != oracle::page.words[1]);
}

TEST_CASE("exit and quick_exit in a worker keep their status and run no handler of the host") {
  oracle::Fresh fresh;
  CHECK(oracle::exit_of_child([] {
          std::atexit([] { oracle::page.words[0] = 1; });
          std::at_quick_exit([] { oracle::page.words[1] = 1; });
          const auto status_of = [](worker::WorkerMain main) {
            return TestPool(1, main).run_one().status;
          };
          const bool right = status_of([](const WorkerStart&) { std::exit(3); }) == 3 &&
                             status_of([](const WorkerStart&) { std::quick_exit(4); }) == 4 &&
                             status_of([](const WorkerStart&) { worker::leave_worker(5); }) == 5;
          return right && oracle::page.words[0] == 0 && oracle::page.words[1] == 0 ? 0 : 1;
        }) == 0);
}

TEST_CASE("a worker's handlers of its own run when it exits") {
  oracle::Fresh fresh;
  TestPool pool(1, [](const WorkerStart&) {
    std::atexit([] { oracle::page.words[0] = 1; });
    std::exit(3);
  });
  CHECK(pool.run_one().status == 3);
  CHECK(oracle::page.words[0] == 1);
}

TEST_CASE("buffered output appears once, the host's and the worker's") {
  const auto [text, status] = output_of([] {
    std::printf("printed,");
    std::cout << "streamed,";
    TestPool pool(1, [](const WorkerStart&) {
      std::printf("worker printed,");
      std::cout << "worker streamed,";
      std::exit(0);
    });
    return pool.run_one().status;
  });
  CHECK(status == 0);
  CHECK(text == "printed,streamed,worker printed,worker streamed,");
}

TEST_CASE("a pool starts while another thread waits for input") {
  CHECK(oracle::exit_of_child(
            [] {
              int ends[2];
              if (::pipe(ends) != 0) return 2;
              FILE* input = ::fdopen(ends[0], "r");
              std::jthread reader([input] { (void)std::fgetc(input); });
              ::usleep(50'000);  // lets it block, holding the stream's lock
              const bool started = worker_agrees([](const WorkerStart&) { ::_exit(0); });
              if (::write(ends[1], "", 1) != 1) return 3;
              return started ? 0 : 1;
            },
            60) == 0);
}

TEST_CASE("a pool starts while another thread draws random numbers") {
  CHECK(oracle::exit_of_child(
            [] {
              std::jthread noise([](std::stop_token stop) {
                while (!stop.stop_requested()) (void)std::rand();
              });
              // Of so many, some are forked while the other thread holds the lock of `rand`.
              for (int i = 0; i < 12; ++i) {
                if (!worker_agrees([](const WorkerStart&) { ::_exit(0); })) return 1;
              }
              return 0;
            },
            60) == 0);
}

TEST_CASE("the memory limit lets a worker map that much more and no more") {
  CHECK(worker_agrees([](const WorkerStart&) {
    const auto maps = [](std::size_t bytes) {
      void* memory = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (memory == MAP_FAILED) return false;
      ::munmap(memory, bytes);
      return true;
    };
    constexpr std::size_t mebibyte = std::size_t{1} << 20;
    worker::apply_memory_limit(UINT64_MAX);
    const bool free = maps(512 * mebibyte);
    worker::apply_memory_limit(64 * mebibyte);
    leave(free && maps(48 * mebibyte) && !maps(80 * mebibyte));
  }));
}

TEST_CASE("the initializer and the pool's numbers reach the worker") {
  oracle::Fresh fresh;
  TestPool pool(
      3,
      [](const WorkerStart& start) {
        (*start.initializer)();
        leave(start.index == 0 && start.generation == 9 && start.pool.workers == 3 &&
              start.descriptors.channel == -1 && start.modules != nullptr &&
              worker::inside_worker());
      },
      [] { oracle::page.words[0] = 77; });
  CHECK(pool.run_one(9).status == 0);
  CHECK(oracle::page.words[0] == 77);
  CHECK_FALSE(worker::inside_worker());
}

TEST_CASE("a worker that lost its tie to the server can renew it") {
  oracle::Fresh fresh;
  TestPool pool(1, [](const WorkerStart& start) {
    ::prctl(PR_SET_PDEATHSIG, 0UL);
    worker::die_with_server();
    oracle::page.words[0] = 1;
    sleep_for_ever(start);
  });
  pool.server.spawn(0, 1, 1);
  const Event event = pool.expect(Kind::spawned);
  REQUIRE(pid_in_word(0) == 1);
  ::kill(pool.server.pid(), SIGKILL);
  pollfd process{event.pidfd.get(), POLLIN, 0};
  CHECK(::poll(&process, 1, 60'000) == 1);
}
