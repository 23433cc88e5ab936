/// The signal of single steps and breakpoints.
///
/// Runs in whichever process a test steps: a worker, the owner of a pool, a fork server.
#pragma once

#include <csignal>

namespace libpool::testing {

/// From now on each trap calls `handler`, whatever the process had blocked.
inline void handle_traps(void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction action{};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGTRAP, &action, nullptr);
  sigset_t trap;
  sigemptyset(&trap);
  sigaddset(&trap, SIGTRAP);
  ::sigprocmask(SIG_UNBLOCK, &trap, nullptr);
}

}  // namespace libpool::testing
