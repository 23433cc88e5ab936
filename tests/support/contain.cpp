/// Runs one test so that nothing outlives it: `contain <seconds> <command> [<argument>...]`.
///
/// A process between CTest and the test. As a child subreaper it inherits every process that the
/// test, or a fork server of the test, leaves behind; what is still alive after a short grace is
/// named, killed, and makes the test fail. It touches its own descendants only. Exit status: the
/// test's; 128 + signal; 124 for a test past its limit; 125 for processes left behind.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr int past_limit = 124;
constexpr int left_processes = 125;

/// Processes that a dying fork server takes with it need this long at most, on a loaded machine
/// too.
constexpr auto grace = std::chrono::seconds(10);

std::vector<pid_t> children() {
  const std::string self = std::to_string(getpid());
  std::ifstream list("/proc/" + self + "/task/" + self + "/children");
  std::vector<pid_t> pids;
  for (pid_t pid = 0; list >> pid;) pids.push_back(pid);
  return pids;
}

std::string command_line(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
  std::string text;
  std::getline(file, text);
  return text;
}

/// Sleeps until a child ends, someone asks us to stop, or `deadline`. Returns the signal, 0 at the
/// deadline.
int wait_for_signal(const sigset_t& signals, Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::nanoseconds>(deadline - Clock::now());
  if (left.count() <= 0) return 0;
  const timespec limit{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
  const int signal = sigtimedwait(&signals, nullptr, &limit);
  return signal > 0 ? signal : 0;
}

/// Reaps what has ended. True while a child is left; the test's own status goes to `status`.
bool reap(pid_t test, int& status) {
  for (;;) {
    int ended = 0;
    const pid_t pid = waitpid(-1, &ended, WNOHANG);
    if (pid < 0) return false;
    if (pid == 0) return true;
    if (pid != test) continue;
    status = WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended);
    if (status > 128) std::fprintf(stderr, "contain: ended by signal %d\n", status - 128);
  }
}

/// Kills all descendants: the children of a killed child become ours, and die in a later round.
void kill_descendants() {
  for (std::vector<pid_t> pids = children(); !pids.empty(); pids = children()) {
    for (const pid_t pid : pids) kill(pid, SIGKILL);
    for (const pid_t pid : pids) waitpid(pid, nullptr, 0);
  }
}

[[noreturn]] void run(char** command, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(past_limit);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execvp(command[0], command);
  std::perror(command[0]);
  _exit(127);
}

/// Waits for the test and then for what it left. Returns the exit status for CTest.
int watch(pid_t test, Clock::time_point deadline, const sigset_t& signals) {
  int status = -1;
  bool ended = false;
  while (reap(test, status)) {
    if (status >= 0 && !ended) {
      ended = true;
      deadline = Clock::now() + grace;
    }
    const int signal = wait_for_signal(signals, deadline);
    if (signal == SIGCHLD) continue;
    if (status < 0) {
      std::fprintf(stderr, "contain: %s\n", signal == 0 ? "the test passed its limit" : "stopped");
      return past_limit;
    }
    for (const pid_t pid : children()) {
      std::fprintf(stderr, "contain: left behind: %d (%s)\n", pid, command_line(pid).c_str());
    }
    return left_processes;
  }
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: contain <seconds> <command> [<argument>...]\n");
    return 2;
  }
  const auto deadline = Clock::now() + std::chrono::seconds(std::atoi(argv[1]));
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGCHLD, SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  sigprocmask(SIG_BLOCK, &signals, nullptr);

  const pid_t self = getpid();
  const pid_t test = fork();
  if (test < 0) {
    std::perror("fork");
    return 2;
  }
  if (test == 0) run(argv + 2, self);
  const int status = watch(test, deadline, signals);
  kill_descendants();
  return status;
}
