/// Ending and reaping a server's children.
///
/// Runs in fork servers and the prefork root; see the header for what a death leaves.
#include <worker/children.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <string_view>

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

/// The number in this field of /proc/[pid]/stat, counted from 1 as its manual does; 0 if there is
/// none.
std::uint64_t field(std::string_view stat, int number) noexcept {
  constexpr int first_behind_name = 3;  // the name may contain anything
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string_view::npos) return 0;
  stat.remove_prefix(std::min(name_end + 2, stat.size()));
  for (; number > first_behind_name; --number) {
    const std::size_t space = stat.find(' ');
    if (space == std::string_view::npos) return 0;
    stat.remove_prefix(space + 1);
  }
  std::uint64_t value = 0;
  std::from_chars(stat.data(), stat.data() + stat.size(), value);
  return value;
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

siginfo_t Children::ending(pid_t child) const noexcept {
  constexpr int flags = 9;
  constexpr int threads = 20;
  constexpr int exit_code = 52;
  constexpr std::uint64_t exiting = 4;  // the kernel's PF_EXITING
  constexpr std::uint64_t dumped = 0x80;
  siginfo_t info{};
  if (!list_) return info;  // no /proc of ours
  constexpr std::string_view directory = "/proc/";
  constexpr std::string_view file = "/stat";
  std::array<char, 32> path{};
  char* end = std::copy(directory.begin(), directory.end(), path.data());
  end = std::to_chars(end, path.data() + path.size() - file.size() - 1, child).ptr;
  std::copy(file.begin(), file.end(), end);
  const detail::FileDescriptor opened = detail::try_create_descriptor(
      [&] { return system_calls.open(path.data(), O_RDONLY | O_CLOEXEC); });
  std::array<char, 1024> text;
  const ssize_t bytes =
      opened ? system_calls.read(opened.get(), text.data(), text.size()) : ssize_t{0};
  if (bytes <= 0) return info;
  const std::string_view stat(text.data(), static_cast<std::size_t>(bytes));
  const std::uint64_t code = field(stat, exit_code);
  if ((field(stat, flags) & exiting) == 0 || field(stat, threads) != 1 || code == 0) return info;
  const auto signal = static_cast<int>(code & 0x7F);
  info.si_pid = child;
  info.si_status = signal != 0 ? signal : static_cast<int>(code >> 8 & 0xFF);
  info.si_code = signal == 0 ? CLD_EXITED : (code & dumped) != 0 ? CLD_DUMPED : CLD_KILLED;
  return info;
}

siginfo_t Children::reap() noexcept {
  siginfo_t info{};
  const int waited = detail::retry_interrupted(
      [&] { return system_calls.waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL); });
  if (waited != 0) info.si_pid = 0;
  return info;
}

}  // namespace libpool::worker
