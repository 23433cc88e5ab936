/// The owner of a pool is killed at each instruction of its short calls, and the fork server at
/// each instruction between a request and its next sleep.
///
/// The owners are children of the test, which is a subreaper meanwhile: what they leave behind
/// falls to it. Who is to die sets its trap flag; the handler counts, and kills at the k-th
/// instruction.
#include <sys/ucontext.h>

#include <csignal>
#include <cstdlib>

#include <libpool/detail/system.hpp>
#include <tests/support/trap.hpp>

#include "matrix.hpp"
#include "subreaper.hpp"
#include "tasks.hpp"

#ifdef __x86_64__
namespace {

using namespace crash;
using libpool::ProcessPool;
using namespace std::chrono_literals;

constexpr std::uint64_t trap_flag = 0x100;

// Plain words: only the one stepped thread touches them. A child of its has copies.
long steps = 0;
long fatal = 0;
pid_t stepped = 0;

void step(int, siginfo_t*, void* context) {
  if (::getpid() != stepped) {
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &=
        ~static_cast<greg_t>(trap_flag);
  } else if (++steps == fatal) {
    ::kill(stepped, SIGKILL);
  }
}

void begin_steps() {
  libpool::testing::handle_traps(step);
  stepped = ::getpid();
  __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() | trap_flag);
}

/// The path is over: whoever walked it lives.
void end_steps() {
  __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~trap_flag);
  stepped = 0;
  oracle::page.words[0] = steps;
}

template <class Call>
void walk(Call call) {
  begin_steps();
  call();
  end_steps();
}

void submit_life() {
  ProcessPool pool(2, small_options());
  pool.apply_async(twice, 1).wait();  // its first call starts a thread
  walk([&] { static_cast<void>(pool.apply_async(twice, 2)); });
}

void collect_life() {
  ProcessPool pool(2, small_options());
  const auto handle = pool.apply_async(twice, 1);
  walk([&] { static_cast<void>(pool.stats()); });
  static_cast<void>(handle.get());
}

void close_life() {
  ProcessPool pool(2, small_options());
  static_cast<void>(pool.map_async(sleep_for_ever, numbers(9)));
  walk([&] { pool.close(); });
}

void terminate_life() {
  ProcessPool pool(2, small_options());
  static_cast<void>(pool.map_async(sleep_for_ever, numbers(9)));
  walk([&] { pool.terminate(); });
}

/// The fork server takes steps from its first request to its next sleep; the owner gets an answer
/// whatever becomes of it.
void served_life() {
  static const pid_t owner = ::getpid();
  static const libpool::detail::SystemCalls real = libpool::detail::system_calls;
  libpool::detail::system_calls.recvmsg = [](int socket, msghdr* message, int flags) {
    const ssize_t bytes = real.recvmsg(socket, message, flags);
    if (bytes > 0 && steps == 0 && ::getpid() != owner) begin_steps();
    return bytes;
  };
  libpool::detail::system_calls.poll = [](pollfd* fds, nfds_t count, int timeout) {
    if (stepped != 0) end_steps();
    return real.poll(fds, count, timeout);
  };
  try {
    ProcessPool pool(1, small_options());
    if (pool.map(twice, numbers(9), {.chunksize = 2})[8] != 16) ::_exit(1);
    pool.close();
    pool.join();
  } catch (const libpool::PoolError&) {
  } catch (const std::system_error&) {
  }
}

/// One owner, in whose life the one that is stepped dies at instruction `k`. False if it lived.
bool live_and_die(void (*life)(), bool owner_dies, long k, double& longest_ms) {
  CAPTURE(k);
  oracle::page.words[0] = 0;
  std::fflush(nullptr);
  const pid_t owner = ::fork();
  if (owner == 0) {
    ::alarm(oracle::sanitized ? 200 : 40);
    fatal = k;
    life();
    ::_exit(0);
  }
  int status = -1;
  REQUIRE(oracle::eventually([&] { return ::waitpid(owner, &status, WNOHANG) == owner; }, 60s));
  const auto death = std::chrono::steady_clock::now();
  const bool died = oracle::page.words[0] == 0;
  if (died && owner_dies) {
    CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
  } else {
    CHECK(status == 0);
  }
  CHECK(crash::Subreaper::all_gone());
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - death;
  if (died) longest_ms = std::max(longest_ms, took.count());
  return died;
}

/// With LIBPOOL_ALL_FAULTS in the environment at each instruction, else at some hundred of them.
void die_everywhere(const char* title, void (*life)(), bool owner_dies) {
  static const bool all = std::getenv("LIBPOOL_ALL_FAULTS") != nullptr;
  const crash::Subreaper reaper;
  int lives = 0;
  double longest_ms = 0;
  long k = 1;
  while (live_and_die(life, owner_dies, k, longest_ms)) {
    ++lives;
    k += all ? 1 : oracle::sanitized ? 1 + k / 8 : 1 + k / 64;
  }
  CHECK(lives > 20);
  std::printf("%s: %d deaths in %ld instructions, the longest end took %.1f ms\n", title, lives,
              oracle::page.words[0].load(), longest_ms);
}

}  // namespace

TEST_CASE("when the owner is killed at any instruction of a short call, nothing is left") {
  die_everywhere("a submission", submit_life, true);
  die_everywhere("a round that collects", collect_life, true);
  die_everywhere("close", close_life, true);
  die_everywhere("terminate", terminate_life, true);
}

TEST_CASE(
    "when the fork server is killed at any instruction of a request, every call is answered") {
  die_everywhere("a request", served_life, false);
}
#endif
