/// The owner of a pool, and its fork server, are killed at each system call that they make in a
/// pool's life.
///
/// The owners are children of the test, which is a subreaper meanwhile: what they leave behind
/// falls to it. Where the fork server dies, the owner lives on and tells by its exit status whether
/// every call of its had an answer.

#include <ctime>

#include <tests/support/system_faults.hpp>
#include "matrix.hpp"
#include "subreaper.hpp"
#include "tasks.hpp"

namespace {

using namespace crash;
using libpool::ProcessPool;
using namespace std::chrono_literals;
namespace faults = libpool::testing::faults;

std::size_t size_of(const std::vector<char>& bytes) { return bytes.size(); }

/// Calls of a pool, each of which is answered: by a value, or by an exception of the contract.
template <class Call>
bool answered(Call call) {
  try {
    call();
  } catch (const libpool::PoolError&) {
  } catch (const std::system_error&) {
  } catch (...) {
    return false;
  }
  return true;
}

bool use(ProcessPool& pool) {
  const bool basic = answered([&] { pool.map(twice, numbers(20), {.chunksize = 3}); }) &&
                     // More than the arena has at first, and with memory of its own.
                     answered([&] {
                       const std::vector<std::vector<char>> many(5, std::vector<char>(50'000));
                       for (auto&& size : pool.imap(size_of, many)) static_cast<void>(size);
                     }) &&
                     answered([&] { pool.apply(size_of, std::vector<char>(100'000)); });
  return basic && answered([&] { pool.apply([]() -> int { ::_exit(3); }); }) &&
         answered([&] { pool.apply_async(sleep_for_ever, 1).cancel(); }) &&
         answered([&] { static_cast<void>(pool.map_async(twice, numbers(9)).get()); });
}

bool closed_life() {
  return answered([] {
    ProcessPool pool(2, small_options());
    if (!use(pool)) throw 1;
    pool.close();
    pool.join();
  });
}

bool terminated_life() {
  return answered([] {
    ProcessPool pool(2, small_options());
    static_cast<void>(pool.map_async(sleep_for_ever, numbers(9)));
    pool.terminate();
    pool.join();
  });
}

bool rooted_life() {
  return answered([] {
    libpool::prefork();
    ProcessPool pool(2, small_options());
    if (!use(pool)) throw 1;
  });
}

struct Ends {
  int lives = 0;
  double longest_ms = 0;
};

double milliseconds_since(long long then) {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec * 1'000'000'000LL + now.tv_nsec - then) / 1e6;
}

/// One life, in which the process dies that the plan names. False if it lived to the end.
bool live_and_die(bool (*life)(), const faults::Plan& plan, Ends& ends) {
  const std::string name = faults::describe(plan);
  CAPTURE(name);
  faults::arm(plan);
  std::fflush(nullptr);
  const pid_t owner = ::fork();
  if (owner == 0) {
    ::alarm(oracle::sanitized ? 200 : 40);
    ::_exit(life() ? 0 : 1);
  }
  int status = -1;
  REQUIRE(oracle::eventually([&] { return ::waitpid(owner, &status, WNOHANG) == owner; }, 60s));
  const bool fired = faults::fired();
  if (fired && plan.generation == 0) {
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGKILL);
  } else {
    CHECK(status == 0);
  }
  CHECK(crash::Subreaper::all_gone());
  if (fired && plan.generation == 0) {
    ends.longest_ms = std::max(ends.longest_ms, milliseconds_since(faults::fired_at()));
  }
  faults::disarm();
  ++ends.lives;
  return fired;
}

/// Kills at the first, the second, ... call of all. With LIBPOOL_ALL_FAULTS in the environment at
/// each; else at each of the first ones, and at some of the later ones.
void die_everywhere(const char* title, bool (*life)(), int generation) {
  static const bool all = std::getenv("LIBPOOL_ALL_FAULTS") != nullptr;
  constexpr long each = oracle::sanitized ? 4 : 60;
  const crash::Subreaper reaper;
  Ends ends;
  for (long nth = 1;; nth += all || nth < each ? 1 : 1 + nth / 16) {
    const faults::Plan plan{generation, faults::any_call, 0, nth, faults::Action::kill};
    if (!live_and_die(life, plan, ends)) break;
  }
  CHECK(ends.lives > 5);
  std::printf("%s: %d lives", title, ends.lives);
  if (generation == 0) std::printf(", the longest end took %.1f ms", ends.longest_ms);
  std::printf("\n");
}

[[maybe_unused]] const bool installed = [] {
  faults::install();
  return true;
}();

}  // namespace

TEST_CASE("when the owner is killed at any of its system calls, nothing of the pool is left") {
  die_everywhere("a closed pool", closed_life, 0);
  die_everywhere("a terminated pool", terminated_life, 0);
  die_everywhere("a pool of the prefork root", rooted_life, 0);
}

TEST_CASE("when the fork server is killed at any of its system calls, every call is answered") {
  die_everywhere("a closed pool", closed_life, 1);
  die_everywhere("a terminated pool", terminated_life, 1);
}

TEST_CASE("when the prefork root is killed at any of its system calls, every call is answered") {
  die_everywhere("a pool of the prefork root", rooted_life, 1);
}

TEST_CASE("when a worker is killed at any of its system calls, every call is answered") {
  die_everywhere("a closed pool", closed_life, 2);
}
