/// Hosts that run into their limits: descriptors, processes, address space; and one that is
/// interrupted all the time.
///
/// Each host is a child of the test, because limits stay. What a limit refuses is an error of the
/// contract, or the pool recovers.
#include "hosts.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>
#include <sys/time.h>

#include <memory>

using namespace crash;
using libpool::ProcessPool;
using namespace std::chrono_literals;

namespace {

int verdict(bool right) { return right ? all_right : wrong; }

void limit(int resource, rlim_t most) {
  rlimit now{};
  ::getrlimit(static_cast<__rlimit_resource_t>(resource), &now);
  now.rlim_cur = std::min(most, now.rlim_max);
  ::setrlimit(static_cast<__rlimit_resource_t>(resource), &now);
}

rlim_t mapped_bytes() {
  std::ifstream file("/proc/self/statm");
  rlim_t pages = 0;
  file >> pages;
  return pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE));
}

std::unique_ptr<ProcessPool> make_pool() {
  return std::make_unique<ProcessPool>(2, small_options());
}

/// The lowest number that a new descriptor would get.
rlim_t next_descriptor() {
  const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::close(fd);
  return static_cast<rlim_t>(fd);
}

}  // namespace

TEST_CASE("a host that runs out of descriptors while its pool lives has it back later") {
  // The sanitizer of undefined behaviour needs a pipe of its own to look at an object.
  if (oracle::sanitized) return;
  for (rlim_t more = 0; more < 6; ++more) {
    CAPTURE(more);
    CHECK(oracle::exit_of_child([more] {
            bool right = true;
            const auto pool = make_pool();
            right = serves(*pool) && right;
            limit(RLIMIT_NOFILE, next_descriptor() + more);
            for (int round = 0; round < 3; ++round) {
              try {
                right = serves(*pool) && right;
              } catch (const libpool::PoolError&) {
              } catch (const std::system_error&) {
              }
            }
            limit(RLIMIT_NOFILE, 1024);
            bool broken = false;
            try {
              right = serves(*pool) && right;
            } catch (const libpool::PoolBroken&) {
              broken = true;
            }
            return verdict(right && (!broken || more < 2));
          }) == all_right);
  }
}

TEST_CASE("a worker whose descriptors its host cannot take serves it, and is replaced") {
  // The sanitizer of undefined behaviour needs a pipe of its own to look at an object.
  if (oracle::sanitized) return;
  CHECK(oracle::exit_of_child([] {
          const auto pool = std::make_unique<ProcessPool>(1, small_options());
          constexpr rlim_t fewer_than_are_open = 5;
          limit(RLIMIT_NOFILE, fewer_than_are_open);
          bool right = throws<libpool::WorkerCrashed>([&] { pool->apply([] { ::_exit(3); }); });
          for (int round = 0; round < 20; ++round) {
            right = pool->map(twice, numbers(200))[199] == 398 && right;
          }
          right =
              throws<libpool::TaskTimeout>([&] {
                pool->map(sleep_for_ever, numbers(1), {.timeout = std::chrono::milliseconds{2}});
              }) &&
              right;
          right = pool->map(twice, numbers(200))[199] == 398 && right;
          limit(RLIMIT_NOFILE, 1024);
          return verdict(serves(*pool) && right);
        }) == all_right);
}

TEST_CASE("a host that runs out of processes gets an error or a pool") {
  // Root has no limit: another user, of whom nobody else runs anything, has.
  constexpr uid_t nobody_else = 64'123;
  for (rlim_t most = 1; most < 8; ++most) {
    CAPTURE(most);
    const int status = oracle::exit_of_child([most] {
      if (::setgroups(0, nullptr) != 0 || ::setresgid(nobody_else, nobody_else, nobody_else) != 0 ||
          ::setresuid(nobody_else, nobody_else, nobody_else) != 0) {
        return static_cast<int>(not_permitted);
      }
      limit(RLIMIT_NPROC, most);
      return verdict(serves_or_fails(make_pool));
    });
    if (status == not_permitted) {
      MESSAGE("skipped: only root can become another user");
      return;
    }
    CHECK(status == all_right);
  }
}

TEST_CASE("a host that runs out of address space gets an error or a pool") {
  // A sanitizer's shadow memory does not fit under a limit on address space.
  if (oracle::sanitized) return;
  for (rlim_t kibibytes = 0; kibibytes < 12'000; kibibytes += kibibytes / 4 + 20) {
    CAPTURE(kibibytes);
    CHECK(oracle::exit_of_child([kibibytes] {
            limit(RLIMIT_AS, mapped_bytes() + (kibibytes << 10));
            return verdict(serves_or_fails(make_pool));
          }) == all_right);
  }
}

TEST_CASE("a host that runs out of address space while its pool lives has it back later") {
  if (oracle::sanitized) return;
  // Which allocation is the first to fail depends on the heap; that each may be is for the memory
  // faults to show.
  for (rlim_t kibibytes = 0; kibibytes < 4000; kibibytes += kibibytes / 4 + 20) {
    CAPTURE(kibibytes);
    CHECK(oracle::exit_of_child([kibibytes] {
            const auto pool = make_pool();
            bool right = serves(*pool);
            limit(RLIMIT_AS, mapped_bytes() + (kibibytes << 10));
            right = serves_or_fails([&] { return pool.get(); }) && right;
            limit(RLIMIT_AS, RLIM_INFINITY);
            try {
              right = serves(*pool) && right;
            } catch (const libpool::PoolBroken&) {
            }
            return verdict(right);
          }) == all_right);
  }
}

TEST_CASE("signals that interrupt a host all the time change nothing") {
  CHECK(oracle::exit_of_child([] {
          struct sigaction handler{};
          handler.sa_handler = [](int) {};
          handler.sa_flags = 0;  // not SA_RESTART: system calls end with EINTR
          ::sigaction(SIGALRM, &handler, nullptr);
          // ThreadSanitizer and the like run each handler much more slowly.
          const suseconds_t microseconds = oracle::sanitized ? 3000 : 150;
          const itimerval storm{{0, microseconds}, {0, microseconds}};
          ::setitimer(ITIMER_REAL, &storm, nullptr);
          bool right = true;
          for (int round = 0; round < (oracle::sanitized ? 2 : 30); ++round) {
            right = serves_and_ends() && right;
            ProcessPool pool(2);
            int next = 0;
            for (const int result : pool.imap(twice, numbers(200))) {
              right = result == 2 * next++ && right;
            }
            right = pool.map_async(twice, numbers(100)).get()[99] == 198 && right;
          }
          return verdict(right);
        }) == all_right);
}
