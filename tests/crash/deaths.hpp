/// The table of deaths: every way in which a worker can end, and what the parent must say of it.
///
/// The functions run in a worker, which does not survive them; the tables are read by the tests.
#pragma once

#include <pthread.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>

#include <tests/support/oracle.hpp>

namespace crash {

/// Where the page keeps what a dying worker says of itself.
enum Word : std::size_t { dying_pid, stopped_pid, deaths_so_far };

struct Death {
  std::string name;
  void (*die)();
  std::optional<int> signal;
  std::optional<int> exit_status;
  /// Without `die`: the signal is sent from outside as well, so an idle worker can die of it.
  bool from_outside = false;
  /// Sanitizers catch this signal and end the process with an exit status of their own.
  bool sanitizers_interfere = false;
};

template <int Signal>
void die_by_signal() {
  ::kill(::getpid(), Signal);
  for (;;) ::pause();
}

inline void dereference_null() {
  volatile int* volatile nowhere = nullptr;
  *nowhere = 1;
}

inline volatile bool deep_enough = false;  ///< for ever; no compiler knows

[[gnu::noinline]] inline int recurse(const volatile char* outer) {
  volatile char frame[4096];
  frame[0] = outer[0];
  if (deep_enough) return 0;
  return recurse(frame) + frame[0];
}
inline void overflow_stack() {
  const volatile char first = 1;
  static_cast<void>(recurse(&first));
}

/// As `std::terminate`, without a line on the standard error.
inline void terminate_quietly() {
  std::set_terminate([] { std::abort(); });
  std::terminate();
}
inline void throw_it() { throw std::runtime_error("from noexcept"); }
inline void throw_from_noexcept() noexcept {
  std::set_terminate([] { std::abort(); });
  throw_it();
}

inline void stop() {
  oracle::page.words[stopped_pid] = ::getpid();
  ::kill(::getpid(), SIGSTOP);
  for (;;) ::pause();
}

#define CRASH_BY_SIGNAL(signal) \
  Death { #signal, die_by_signal<signal>, signal, std::nullopt, true, false }

/// All the ways. A stopped worker needs somebody outside who kills it: see `Executioner`.
inline const std::array deaths{
    CRASH_BY_SIGNAL(SIGHUP),
    CRASH_BY_SIGNAL(SIGINT),
    CRASH_BY_SIGNAL(SIGQUIT),
    Death{"SIGILL", die_by_signal<SIGILL>, SIGILL, std::nullopt, true, true},
    CRASH_BY_SIGNAL(SIGTRAP),
    Death{"SIGABRT", die_by_signal<SIGABRT>, SIGABRT, std::nullopt, true, true},
    Death{"SIGBUS", die_by_signal<SIGBUS>, SIGBUS, std::nullopt, true, true},
    Death{"SIGFPE", die_by_signal<SIGFPE>, SIGFPE, std::nullopt, true, true},
    CRASH_BY_SIGNAL(SIGKILL),
    CRASH_BY_SIGNAL(SIGUSR1),
    Death{"SIGSEGV", die_by_signal<SIGSEGV>, SIGSEGV, std::nullopt, true, true},
    CRASH_BY_SIGNAL(SIGUSR2),
    CRASH_BY_SIGNAL(SIGPIPE),
    CRASH_BY_SIGNAL(SIGALRM),
    CRASH_BY_SIGNAL(SIGTERM),
    CRASH_BY_SIGNAL(SIGSTKFLT),
    CRASH_BY_SIGNAL(SIGXCPU),
    CRASH_BY_SIGNAL(SIGXFSZ),
    CRASH_BY_SIGNAL(SIGVTALRM),
    CRASH_BY_SIGNAL(SIGPROF),
    CRASH_BY_SIGNAL(SIGIO),
    CRASH_BY_SIGNAL(SIGPWR),
    CRASH_BY_SIGNAL(SIGSYS),
    Death{"the first real-time signal", die_by_signal<34>, 34, std::nullopt, true, false},
    Death{"the last real-time signal", die_by_signal<64>, 64, std::nullopt, true, false},
    Death{"a null dereference", dereference_null, SIGSEGV, std::nullopt, false, true},
    Death{"a stack overflow", overflow_stack, SIGSEGV, std::nullopt, false, true},
    Death{"abort", [] { std::abort(); }, SIGABRT, std::nullopt, false, true},
    Death{"terminate", terminate_quietly, SIGABRT, std::nullopt, false, true},
    Death{"a throw from noexcept", [] { throw_from_noexcept(); }, SIGABRT, std::nullopt, false,
          true},
    Death{"_exit(0)", [] { ::_exit(0); }, std::nullopt, 0},
    Death{"_exit(3)", [] { ::_exit(3); }, std::nullopt, 3},
    Death{"exit(0)", [] { std::exit(0); }, std::nullopt, 0},
    Death{"exit(4)", [] { std::exit(4); }, std::nullopt, 4},
    Death{"exit(255)", [] { std::exit(255); }, std::nullopt, 255},
    Death{"quick_exit(0)", [] { std::quick_exit(0); }, std::nullopt, 0},
    Death{"quick_exit(5)", [] { std::quick_exit(5); }, std::nullopt, 5},
    Death{"pthread_exit", [] { ::pthread_exit(nullptr); }, std::nullopt, 0},
    Death{"a stop, then SIGKILL", stop, SIGKILL, std::nullopt},
};

/// In a worker: says who dies, then dies.
inline void die(std::size_t death) {
  oracle::page.words[dying_pid] = ::getpid();
  ++oracle::page.words[deaths_so_far];
  deaths[death].die();
}

/// Kills workers that have stopped themselves; in the test, for as long as it lives.
class Executioner {
 public:
  Executioner()
      : thread_([](const std::stop_token& end) {
          while (!end.stop_requested()) {
            const auto pid = static_cast<pid_t>(oracle::page.words[stopped_pid].load());
            if (pid != 0 && oracle::stopped(pid)) {
              oracle::page.words[stopped_pid] = 0;
              ::kill(pid, SIGKILL);
            }
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
          }
        }) {}

 private:
  std::jthread thread_;
};

}  // namespace crash
