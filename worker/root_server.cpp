/// The root's loop over its table of fork servers.
///
/// Runs in the prefork root; the pools' fork servers are forked here. Neighbours: `prefork.cpp` and
/// the client in `supervise/` on the other side of the channel, `fork_server.cpp` in the children.
#include <worker/root_server.hpp>

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include <libpool/detail/descriptor_message.hpp>
#include <libpool/detail/file_descriptor.hpp>
#include <libpool/detail/system.hpp>
#include <worker/children.hpp>
#include <worker/fork_server.hpp>
#include <worker/fork_server_messages.hpp>
#include <worker/inheritance.hpp>

namespace libpool::worker {
namespace {

using detail::FileDescriptor;
using detail::system_calls;

/// A pool's fork server. The root holds on to the server's end of the pool's channel until the
/// server is reaped and so are its orphans: the client takes the end of file there as word that
/// nothing is left.
struct PoolPlace {
  pid_t pid = 0;
  FileDescriptor channel;  ///< empty: the place is free
  bool dead = false;       ///< of the last look: a zombie, for as long as it has orphans
};

/// Whether this child is dead. Reaps it, unless `options` are WNOWAIT.
bool is_dead(pid_t child, int options) noexcept {
  siginfo_t info{};
  const int waited = detail::retry_interrupted([&] {
    return system_calls.waitid(P_PID, static_cast<id_t>(child), &info,
                               WEXITED | WNOHANG | __WALL | options);
  });
  return waited == 0 && info.si_pid == child;
}

class Root {
 public:
  explicit Root(const RootServerStart& start) noexcept : start_(start) {}

  /// Serves until the host is gone, then ends everything below.
  void serve() noexcept;

 private:
  void take_requests() noexcept;
  void fork_server(const PoolRequest& request,
                   std::array<FileDescriptor, PoolRequest::descriptors> given) noexcept;
  void reap() noexcept;
  [[nodiscard]] int end_orphans() noexcept;

  [[nodiscard]] PoolPlace* place_of(pid_t pid) noexcept {
    const auto place =
        std::find_if(pools_.begin(), pools_.end(), [pid](auto& one) { return one.pid == pid; });
    return place == pools_.end() ? nullptr : &*place;
  }

  const RootServerStart& start_;
  Children children_;
  FileDescriptor deaths_;  ///< signalfd of SIGCHLD
  std::array<PoolPlace, most_rooted_pools> pools_{};
  bool ended_ = false;  ///< the host is dead, has closed the channel, or talks nonsense
};

void Root::serve() noexcept {
  sigset_t child_signal;
  sigemptyset(&child_signal);
  sigaddset(&child_signal, SIGCHLD);
  deaths_ = detail::try_create_descriptor(
      [&] { return system_calls.signalfd(-1, &child_signal, SFD_CLOEXEC | SFD_NONBLOCK); });
  ended_ = !deaths_;
  while (!ended_) {
    std::array<pollfd, 3> sources{pollfd{start_.channel, POLLIN, 0}, pollfd{start_.host, POLLIN, 0},
                                  pollfd{deaths_.get(), POLLIN, 0}};
    if (system_calls.poll(sources.data(), sources.size(), -1) < 0) continue;
    if (sources[1].revents != 0) break;
    if (sources[2].revents != 0) reap();
    if (sources[0].revents != 0) take_requests();
  }
  children_.end_all();
}

void Root::take_requests() noexcept {
  for (;;) {
    PoolRequest request;
    std::array<int, PoolRequest::descriptors> numbers{};
    const auto received =
        detail::receive_message(start_.channel, &request, sizeof request, numbers);
    if (received.bytes < 0 && (errno == EAGAIN || detail::short_of_memory(errno))) return;
    std::array<FileDescriptor, PoolRequest::descriptors> given;
    for (std::size_t i = 0; i < received.descriptors; ++i) given[i] = FileDescriptor{numbers[i]};
    if (received.bytes != sizeof request) {
      ended_ = true;
      return;
    }
    // Without its descriptors (out of them) a request is dropped, and with it the last server's end
    // of the pool's channel: the client sees the end of file and forks for itself.
    const bool whole = std::all_of(given.begin(), given.end(), [](auto& fd) { return bool(fd); });
    if (whole) fork_server(request, std::move(given));
  }
}

void Root::fork_server(const PoolRequest& request,
                       std::array<FileDescriptor, PoolRequest::descriptors> given) noexcept {
  const auto place =
      std::find_if(pools_.begin(), pools_.end(), [](auto& one) { return !one.channel; });
  if (place == pools_.end()) return;
  const pid_t child = system_calls.fork();
  if (child == 0) {
    const ForkServerStart start{.pool = request.pool,
                                .descriptors = {.channel = given[0].get(),
                                                .tasks = given[1].get(),
                                                .claims = given[2].get(),
                                                .lanes = given[3].get(),
                                                .doorbell = given[4].get()},
                                .host = given[5].get(),
                                .modules = start_.modules,
                                .worker_main = request.worker_main};
    run_fork_server(start);
  }
  if (child < 0) return;  // the end of file on the channel tells the client
  place->pid = child;
  place->channel = std::move(given[0]);
}

/// Forgets dead servers. A server that was killed from outside leaves orphans, which the root
/// adopts: they are its only children without a place. The server is reaped after them: its client
/// may take the end of its pid, too, as word that nothing is left.
void Root::reap() noexcept {
  signalfd_siginfo ignored;  // read before reaping: a death after that raises the signal again
  while (system_calls.read(deaths_.get(), &ignored, sizeof ignored) > 0) {
  }
  // Looked at before the orphans are, because the orphans of one that dies later would be missed.
  for (PoolPlace& place : pools_) place.dead = place.pid != 0 && is_dead(place.pid, WNOWAIT);
  if (end_orphans() != 0) return;  // their deaths bring us here again
  for (PoolPlace& place : pools_) {
    if (!place.dead || !is_dead(place.pid, 0)) continue;
    place = {};
  }
}

int Root::end_orphans() noexcept {
  for (;;) {
    int alive = 0;
    bool reaped = false;
    children_.visit([&](pid_t child) {
      if (place_of(child) != nullptr) return;
      system_calls.kill(child, SIGKILL);
      if (is_dead(child, 0)) {
        reaped = true;
      } else {
        ++alive;
      }
    });
    // Reaping shortens the list while it is read, which may hide others from that look.
    if (!reaped) return alive;
  }
}

}  // namespace

void run_root_server(const RootServerStart& start) noexcept {
  const std::array kept{start.channel, start.host};
  become_server("libpool-root", kept);
  Root{start}.serve();
  ::_exit(EXIT_SUCCESS);
}

}  // namespace libpool::worker
