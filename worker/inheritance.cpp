/// The mending itself, one function per trap.
///
/// Runs in fork servers, the prefork root and workers; see the header.
#include <worker/inheritance.hpp>

#include <fcntl.h>
#include <signal.h>
#include <stdio_ext.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/single_threaded.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include <libpool/detail/file_descriptor.hpp>
#include <libpool/detail/system.hpp>

namespace libpool::worker {
namespace {

using detail::system_calls;

/// All of them, also those that a crash reporter or a sanitizer has set: a crash must be seen as
/// the signal that it is. The two signals of the C library itself answer `EINVAL`, as do SIGKILL
/// and SIGSTOP.
void default_dispositions() noexcept {
  struct sigaction by_default{};
  by_default.sa_handler = SIG_DFL;
  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    system_calls.sigaction(signal, &by_default, nullptr);
  }
  stack_t none{};
  none.ss_flags = SS_DISABLE;
  system_calls.sigaltstack(&none, nullptr);
}

/// The host alone reads its standard input; also what lies in the stream's buffer is the host's.
void empty_standard_input() noexcept {
  int empty = system_calls.open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (empty < 0) empty = system_calls.memfd_create("stdin", MFD_CLOEXEC);  // a root without /dev
  if (empty > STDIN_FILENO) {
    system_calls.dup2(empty, STDIN_FILENO);
    system_calls.close(empty);
  } else if (empty == STDIN_FILENO) {  // it was closed; programs that tasks start shall have it too
    system_calls.fcntl(empty, F_SETFD, 0);
  }
  ::__fpurge(stdin);
}

void unblock_signals() noexcept {
  sigset_t none;
  sigemptyset(&none);
  system_calls.pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

void set_name(const char* name) noexcept {
  system_calls.prctl(PR_SET_NAME, reinterpret_cast<unsigned long>(name));
}

/// Reads at most what fits; returns the bytes read, 0 if there is no such file.
std::size_t read_file(const char* path, std::span<char> into) noexcept {
  const int file = system_calls.open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  const ssize_t bytes = system_calls.read(file, into.data(), into.size());
  system_calls.close(file);
  return bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
}

constexpr const char* out_of_memory_file = "/proc/self/oom_score_adj";

/// What a worker writes into that file, found out once by its server.
struct OutOfMemoryScore {
  std::array<char, 16> text{};
  std::size_t length = 0;  ///< 0: the score stays as it is
};
constinit OutOfMemoryScore score_of_workers;

/// When memory runs out, a worker shall go first: its pool survives that. Raising needs no
/// privilege; a score that is higher already stays.
void choose_out_of_memory_score() noexcept {
  constexpr int more = 250;  // like a quarter of the machine's memory on top of the worker's own
  constexpr int highest = 1000;  // the kernel's bound
  score_of_workers.length = 0;
  auto& text = score_of_workers.text;
  const std::size_t bytes = read_file(out_of_memory_file, text);
  int score = 0;
  if (std::from_chars(text.data(), text.data() + bytes, score).ec != std::errc{}) return;
  score = std::min(score + more, highest);
  const char* end = std::to_chars(text.data(), text.data() + text.size(), score).ptr;
  score_of_workers.length = static_cast<std::size_t>(end - text.data());
}

void raise_out_of_memory_score() noexcept {
  if (score_of_workers.length == 0) return;
  const int file = system_calls.open(out_of_memory_file, O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  // A refusal leaves the score as it was.
  (void)system_calls.write(file, score_of_workers.text.data(), score_of_workers.length);
  system_calls.close(file);
}

/// The slices of the host, where this server's are shorter; else 0.
constinit std::uint64_t host_slice_ns = 0;

/// Whether the lock of `rand` was held when this server was forked, by a thread that doesn't exist
/// here.
constinit bool random_is_locked = false;

/// Tries it in a child. A host with a thread that draws numbers in a loop holds the lock half of
/// the time.
bool find_random_locked() noexcept {
  const pid_t child = system_calls.fork();
  if (child < 0) return true;  // unknown
  if (child == 0) {
    const itimerval patience{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_usec = 250'000}};
    system_calls.prctl(PR_SET_PDEATHSIG, SIGKILL);
    system_calls.setitimer(ITIMER_REAL, &patience, nullptr);
    unblock_signals();
    ::srandom(1);
    ::_exit(EXIT_SUCCESS);
  }
  siginfo_t info{};
  detail::retry_interrupted(
      [&] { return system_calls.waitid(P_PID, static_cast<id_t>(child), &info, WEXITED); });
  return info.si_code != CLD_EXITED;
}

}  // namespace

void become_server(const char* name, std::span<const int> kept) noexcept {
  detail::DescriptorLock::forget_after_fork();
  system_calls.setpgid(0, 0);
  system_calls.prctl(PR_SET_CHILD_SUBREAPER, 1);
  set_name(name);
  default_dispositions();
  detail::close_registered_except(kept);
  empty_standard_input();
  choose_out_of_memory_score();
  host_slice_ns = 0;
  if (!__libc_single_threaded) random_is_locked = find_random_locked();
}

void shorten_slice() noexcept {
  constexpr std::uint64_t slice_ns = 100'000;  // the kernel's least
  // A filter of system calls may kill those that try one it does not know.
  if (system_calls.prctl(PR_GET_SECCOMP, 0) != 0) return;
  detail::SchedulingAttributes attributes{};
  if (system_calls.sched_getattr(&attributes) != 0 ||
      (attributes.policy != SCHED_OTHER && attributes.policy != SCHED_BATCH)) {
    return;
  }
  const std::uint64_t before = std::exchange(attributes.slice_ns, slice_ns);
  if (system_calls.sched_setattr(&attributes) == 0) host_slice_ns = before;
}

void restore_slice() noexcept {
  detail::SchedulingAttributes attributes{};
  if (host_slice_ns == 0 || system_calls.sched_getattr(&attributes) != 0) return;
  attributes.slice_ns = host_slice_ns;
  system_calls.sched_setattr(&attributes);
}

void become_worker(std::span<const int> kept) noexcept {
  set_name("libpool-worker");
  detail::close_registered_except(kept);
  raise_out_of_memory_score();
  unblock_signals();
}

void disable_core_dumps() noexcept {
  // Where cores are piped to a program, the kernel minds the limit only if it is 1 byte, its mark
  // for "none". Making the process undumpable would do as well, but it takes /proc/self and
  // debuggers away from tasks.
  std::array<char, 1> pattern{};
  const bool piped = read_file("/proc/sys/kernel/core_pattern", pattern) == 1 && pattern[0] == '|';
  rlimit limit{};
  if (system_calls.getrlimit(RLIMIT_CORE, &limit) != 0) return;
  limit.rlim_cur = std::min<rlim_t>(piped ? 1 : 0, limit.rlim_max);
  system_calls.setrlimit(RLIMIT_CORE, &limit);
}

void reseed_random() noexcept {
  if (random_is_locked) return;
  unsigned seed = 0;
  if (system_calls.getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed) {
    timespec now{};
    system_calls.clock_gettime(CLOCK_MONOTONIC, &now);
    seed =
        static_cast<unsigned>(now.tv_nsec) ^ (static_cast<unsigned>(system_calls.getpid()) << 12);
  }
  ::srand(seed);  // glibc's `rand` and `random` share their state; other libraries' don't
  ::srandom(seed);
}

}  // namespace libpool::worker
