/// What tests know without asking the library: counters and gates in memory that tasks of either
/// pool share with the test, the kernel's word on processes, and waits with a bound.
///
/// Runs in the test, and in workers as part of tasks. The page is mapped before any pool exists, so
/// that every worker inherits it; a death of a worker leaves its last store visible.
#pragma once

#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <utility>

#include <tests/support/eventually.hpp>

// GCC says it by a macro, Clang by a feature.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ORACLE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ORACLE_SANITIZED 1
#endif
#if __has_feature(thread_sanitizer)
#define ORACLE_THREAD_SANITIZED 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define ORACLE_THREAD_SANITIZED 1
#endif

namespace oracle {

/// A sanitizer reports some signals and leaves with a status of its own, needs address space
/// without limit, and makes everything larger.
#ifdef ORACLE_SANITIZED
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

/// ThreadSanitizer has a thread of its own in every process, which wakes ten times per second.
#ifdef ORACLE_THREAD_SANITIZED
inline constexpr bool thread_sanitized = true;
#else
inline constexpr bool thread_sanitized = false;
#endif

/// How often a test repeats what forks or touches much memory: under a sanitizer each round takes
/// about ten times as long, and finds what it finds in the first of them.
constexpr int rounds(int without_sanitizer) {
  return sanitized ? without_sanitizer / 10 : without_sanitizer;
}

/// Lies in a MAP_SHARED page; zero at first.
struct Page {
  static constexpr std::size_t max_items = 200'000;
  std::atomic<std::uint32_t> gate_open;  ///< futile to close it while a task of an older test waits
  std::atomic<std::uint32_t> arrived;    ///< tasks that have come to the gate
  std::array<std::atomic<std::int64_t>, 16> words;               ///< whatever a test likes
  std::array<std::atomic<std::uint32_t>, max_items> executions;  ///< how often each item started
};

inline Page& map_page() {
  void* memory = ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  return *static_cast<Page*>(memory);
}

/// One page for the life of the test program.
inline Page& page = map_page();

/// Makes the page blank for a test, and opens the gate at its end. Declare it after the pool, so
/// that the pool's destructor does not wait for threads at the gate.
class Fresh {
 public:
  Fresh() {
    page.gate_open = 0;
    page.arrived = 0;
    for (auto& word : page.words) word = 0;
    for (auto& count : page.executions) {
      if (count.load(std::memory_order_relaxed) != 0) count = 0;
    }
  }
  Fresh(const Fresh&) = delete;
  Fresh& operator=(const Fresh&) = delete;
  ~Fresh() { open_gate(); }

  static void open_gate() { page.gate_open = 1; }
};

/// Part of a task: says that the item started.
inline void count_execution(int item) { ++page.executions[static_cast<std::size_t>(item)]; }

inline std::uint32_t executions(int item) {
  return page.executions[static_cast<std::size_t>(item)].load();
}

/// How many of the items 0 ... `items` - 1 started exactly `times` times.
inline int executed(int items, std::uint32_t times = 1) {
  int found = 0;
  for (int item = 0; item < items; ++item) found += executions(item) == times ? 1 : 0;
  return found;
}

/// Part of a task: waits until the test opens the gate.
inline void pass_gate() {
  ++page.arrived;
  while (page.gate_open == 0) std::this_thread::sleep_for(std::chrono::milliseconds{1});
}

using libpool::testing::eventually;

inline bool arrived(std::uint32_t tasks) {
  return eventually([tasks] { return page.arrived >= tasks; });
}

/// A process by its pidfd: the kernel's word, immune to reuse of the number.
class Watched {
 public:
  explicit Watched(pid_t pid) : fd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}
  Watched(Watched&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Watched& operator=(Watched&&) = delete;
  ~Watched() {
    if (fd_ >= 0) ::close(fd_);
  }

  [[nodiscard]] bool found() const { return fd_ >= 0; }
  void kill(int signal) const { ::syscall(SYS_pidfd_send_signal, fd_, signal, nullptr, 0); }
  [[nodiscard]] bool dead() const { return fd_ < 0 || ends_within(0); }
  /// False after a minute, which only a bug takes.
  [[nodiscard]] bool dies() const { return fd_ < 0 || ends_within(60'000); }

 private:
  [[nodiscard]] bool ends_within(int milliseconds) const {
    pollfd poll_set{fd_, POLLIN, 0};
    return ::poll(&poll_set, 1, milliseconds) == 1;
  }
  int fd_;
};

/// The field of /proc/<pid>/stat after the command's name: state is 0, parent is 1.
inline std::string process_field(pid_t pid, std::size_t field) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  std::istringstream rest(
      text.substr(text.rfind(')') == std::string::npos ? 0 : text.rfind(')') + 1));
  std::string value;
  for (std::size_t i = 0; i <= field; ++i) rest >> value;
  return value;
}

inline pid_t parent_of(pid_t pid) { return std::atoi(process_field(pid, 1).c_str()); }
inline bool stopped(pid_t pid) { return process_field(pid, 0) == "T"; }

/// Bytes of this process that lie in memory.
inline std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t total = 0;
  std::size_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

/// Runs `body` in a forked child and returns the child's wait status; the child leaves by `_exit`,
/// with what `body` returns, or with 99 if it throws. A child that hangs dies by SIGALRM.
template <class Body>
int status_of_child(Body body, unsigned limit_seconds = 120) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(limit_seconds);
    int status = 99;
    try {
      status = body();
    } catch (...) {
      status = 99;
    }
    ::_exit(status);
  }
  int status = -1;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

/// As above, for children that have to leave by themselves: their exit status, or -1 if a signal
/// ended them.
template <class Body>
int exit_of_child(Body body, unsigned limit_seconds = 120) {
  const int status = status_of_child(std::move(body), limit_seconds);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace oracle
