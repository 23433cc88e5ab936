/// Ending and reaping a server's children.
///
/// Runs in fork servers and the prefork root; see the header for what a death leaves.
#include <worker/children.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <array>
#include <charconv>

namespace libpool::worker {

using detail::system_calls;

namespace {

/// Whether /proc numbers processes as the kernel numbers them for us: in a PID namespace that has
/// no /proc of its own, it does not.
bool proc_is_ours() noexcept {
  std::array<char, 16> text{};
  const ssize_t bytes = system_calls.readlink("/proc/self", text.data(), text.size());
  pid_t pid = 0;
  const char* end = text.data() + (bytes > 0 ? bytes : 0);
  return std::from_chars(text.data(), end, pid).ec == std::errc{} && pid == system_calls.getpid();
}

}  // namespace

Children::Children() noexcept
    : list_(detail::try_create_descriptor(
          [] { return system_calls.open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC); })) {
  if (!proc_is_ours()) list_.reset();
}

void Children::end_all() const noexcept {
  constexpr int most_refusals = 2;
  for (int refusals = 0;;) {
    while (reap().si_pid != 0) {
    }
    // A child's pid is its own until we reap it, so the signal cannot hit anyone else.
    int killed = 0;
    const int listed = visit([&](pid_t child) {
      if (system_calls.kill(child, SIGKILL) == 0) ++killed;
    });
    if (listed < 0 && !any()) return;
    if (listed < 0 && system_calls.getpgrp() == system_calls.getpid()) {
      system_calls.kill(0, SIGKILL);
    }
    // Those that are left would be waited for until they end by themselves.
    if (listed > 0 && killed == 0 && ++refusals == most_refusals) return;
    if (listed > 0 && killed == 0) continue;
    // One death may orphan processes that the list did not have yet: list again after each wait.
    siginfo_t info{};
    const int waited = detail::retry_interrupted(
        [&] { return system_calls.waitid(P_ALL, 0, &info, WEXITED | __WALL); });
    if (waited != 0) return;  // ECHILD: none is left
  }
}

bool Children::any() noexcept {
  siginfo_t info{};
  return detail::retry_interrupted([&] {
           return system_calls.waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL);
         }) == 0;
}

void Children::reap(pid_t child) noexcept {
  siginfo_t info{};
  detail::retry_interrupted([&] {
    return system_calls.waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | __WALL);
  });
}

siginfo_t Children::reap() noexcept {
  siginfo_t info{};
  const int waited = detail::retry_interrupted(
      [&] { return system_calls.waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL); });
  if (waited != 0) info.si_pid = 0;
  return info;
}

}  // namespace libpool::worker
