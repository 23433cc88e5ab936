/// The fork server's loop over its table of workers.
///
/// Runs in the fork server; the workers are forked here. Neighbours: the client in `supervise/` on
/// the other side of the channel, `worker_start.cpp` in the children. What a death leaves: see the
/// header.
#include <worker/fork_server.hpp>

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <span>
#include <utility>

#include <libpool/detail/descriptor_message.hpp>
#include <libpool/detail/file_descriptor.hpp>
#include <libpool/detail/system.hpp>
#include <worker/children.hpp>
#include <worker/fork_server_messages.hpp>
#include <worker/inheritance.hpp>
#include <worker/place.hpp>
#include <worker/spare.hpp>

namespace libpool::worker {
namespace {

using detail::FileDescriptor;
using detail::system_calls;

class Server {
 public:
  explicit Server(const ForkServerStart& start) noexcept : start_(start) {}

  /// Serves until the pool ends. False if it could not begin.
  [[nodiscard]] bool serve() noexcept;

  /// Kills and reaps every process of the pool.
  void end_workers() noexcept;

 private:
  [[nodiscard]] bool begin() noexcept;
  void wait() noexcept;
  void take_requests() noexcept;
  void take(const Request& request) noexcept;
  void reap() noexcept;
  void look_for_ending() noexcept;
  void note_end(Place& place, const siginfo_t& end) noexcept;
  void advance() noexcept;
  [[nodiscard]] Forked fork_worker(std::uint32_t index, std::uint32_t generation,
                                   SpareCall* call) noexcept;
  void start_worker_of(Place& place) noexcept;
  void start_spare() noexcept;
  void send_owed(Place& place) noexcept;
  [[nodiscard]] bool send(const Report& report, std::span<const int> descriptors) noexcept;

  // Immutable after `begin`.
  const ForkServerStart& start_;
  pid_t pid_ = 0;
  std::uint32_t cpus_ = 0;
  Children children_;
  FileDescriptor deaths_;  ///< signalfd of SIGCHLD
  std::span<Place> places_;
  Spare spare_;

  bool started_ = false;      ///< workers
  bool wants_spare_ = false;  ///< the last fork succeeded
  bool prompt_ = false;       ///< its slices are short

  // How the next wait goes; set by the steps before it.
  bool ended_ = false;            ///< the host is dead, has closed the channel, or talks nonsense
  bool channel_full_ = false;     ///< a report waits for room
  bool short_of_memory_ = false;  ///< a report waits for the kernel to have resources again
  bool starts_left_ = false;      ///< workers wait to be forked in the next round
};

bool Server::begin() noexcept {
  pid_ = system_calls.getpid();
  cpu_set_t cpus;
  if (system_calls.sched_getaffinity(0, sizeof cpus, &cpus) == 0) {
    cpus_ = static_cast<std::uint32_t>(CPU_COUNT(&cpus));
  }
  sigset_t child_signal;
  sigemptyset(&child_signal);
  sigaddset(&child_signal, SIGCHLD);
  deaths_ = detail::try_create_descriptor(
      [&] { return system_calls.signalfd(-1, &child_signal, SFD_CLOEXEC | SFD_NONBLOCK); });
  FileDescriptor self =
      detail::try_create_descriptor([&] { return system_calls.pidfd_open(pid_, 0); });
  const std::size_t workers = start_.pool.workers;
  void* memory = system_calls.mmap(nullptr, workers * sizeof(Place), PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (!deaths_ || !self || memory == MAP_FAILED) {
    // Whoever waits for `ready` throws this error, if the channel can still carry it.
    (void)send({.kind = Report::Kind::fork_failed, .error = errno}, {});
    return false;
  }
  places_ = {static_cast<Place*>(memory), workers};
  std::uninitialized_value_construct(places_.begin(), places_.end());
  const std::array carried{self.get()};
  return send({.kind = Report::Kind::ready, .pid = pid_}, carried);
}

bool Server::serve() noexcept {
  if (!begin()) return false;
  while (!ended_) {
    advance();
    // Not before, because workers that start would inherit it, and then run in its place.
    if (started_ && !starts_left_ && !std::exchange(prompt_, true)) shorten_slice();
    wait();
  }
  return true;
}

/// Waits for something to do, and does it.
void Server::wait() noexcept {
  // Without the write side of the parent there is nobody to serve: POLLRDHUP comes before queued
  // requests are read, so that an ending pool starts no more workers.
  const short wanted = static_cast<short>(POLLIN | POLLRDHUP | (channel_full_ ? POLLOUT : 0));
  std::array<pollfd, 4> sources{pollfd{start_.descriptors.channel, wanted, 0},
                                pollfd{start_.host, POLLIN, 0}, pollfd{deaths_.get(), POLLIN, 0},
                                pollfd{spare_.socket(), POLLIN, 0}};
  constexpr int retry_ms = 10;
  // A pool that ends soon needs no spare.
  constexpr int quiet_ms = 5;
  const bool busy = starts_left_ || short_of_memory_;
  const bool short_of_spare = !busy && wants_spare_ && spare_.pid() == 0;
  const int timeout = starts_left_ || spare_.called_soon() ? 0
                      : busy                               ? retry_ms
                      : short_of_spare                     ? quiet_ms
                                                           : -1;
  const int ready = system_calls.poll(sources.data(), sources.size(), timeout);
  if (ready < 0) return;
  if (ready == 0 && short_of_spare) start_spare();
  if ((sources[0].revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0 || sources[1].revents != 0) {
    ended_ = true;
    return;
  }
  if ((sources[0].revents & POLLIN) != 0) take_requests();
  if (sources[2].revents != 0) reap();
  if ((sources[3].revents & POLLIN) != 0) look_for_ending();
}

void Server::take_requests() noexcept {
  while (!ended_) {
    Request request;
    const auto received =
        detail::receive_message(start_.descriptors.channel, &request, sizeof request, {});
    if (received.bytes < 0 && (errno == EAGAIN || detail::short_of_memory(errno))) return;
    if (received.bytes != sizeof request) {
      ended_ = true;
    } else {
      take(request);
    }
  }
}

void Server::take(const Request& request) noexcept {
  const std::size_t first = request.worker;
  const bool spawn = request.kind == Request::Kind::spawn;
  if ((!spawn && request.kind != Request::Kind::kill) || request.count > places_.size() ||
      first > places_.size() - request.count) {
    ended_ = true;
    return;
  }
  for (Place& place : places_.subspan(first, request.count)) {
    if (spawn) {
      place.start_wanted = true;
      place.wanted_generation = request.generation;
    } else if (place.pid != 0 && place.generation == request.generation) {
      system_calls.kill(place.pid, SIGKILL);  // not reaped yet, so the pid is still its own
    }
  }
}

/// Notes how workers ended. Orphans of theirs that ended by themselves need no note.
void Server::reap() noexcept {
  signalfd_siginfo ignored;  // read before reaping: a death after that raises the signal again
  while (system_calls.read(deaths_.get(), &ignored, sizeof ignored) > 0) {
  }
  for (;;) {
    const siginfo_t info = Children::reap();
    if (info.si_pid == 0) return;
    if (info.si_pid == spare_.pid()) {
      spare_.forget();
      wants_spare_ = false;  // until the next worker: the next spare might end like this one
    }
    const auto place = std::find_if(places_.begin(), places_.end(), [&](const Place& one) {
      return one.pid == info.si_pid || one.ending == info.si_pid;
    });
    if (place == places_.end()) continue;
    if (place->ending == info.si_pid) {
      place->ending = 0;
    } else {
      note_end(*place, info);
    }
  }
}

/// The worker of this place runs no more.
void Server::note_end(Place& place, const siginfo_t& end) noexcept {
  place.pid = 0;
  place.code = end.si_code;
  place.status = end.si_status;
  // A worker without a pidfd was killed at its start, see `fork_worker`.
  (place.error == 0 ? place.owes_exited : place.owes_fork_failed) = true;
}

/// Asks the kernel about the workers that the spare has seen marked. What it says of their end is
/// as good as a death notice: no instruction of theirs runs any more.
void Server::look_for_ending() noexcept {
  std::uint32_t index = 0;
  while (spare_.receive_death(index)) {
    if (index >= places_.size()) continue;
    Place& place = places_[index];
    if (place.pid == 0 || place.ending != 0) continue;
    const siginfo_t end = children_.ending(place.pid);
    if (end.si_pid == 0) continue;
    place.ending = place.pid;
    note_end(place, end);
  }
}

/// Sends what is owed and forks what is wanted, a few at a time: between two rounds the loop looks
/// whether the host is still there.
void Server::advance() noexcept {
  constexpr int most_starts = 16;
  int starts = 0;
  channel_full_ = short_of_memory_ = starts_left_ = false;
  for (Place& place : places_) {
    if (place.owes() && !channel_full_ && !short_of_memory_) send_owed(place);
    if (!place.startable()) continue;
    if (++starts > most_starts) {
      starts_left_ = true;
      return;
    }
    start_worker_of(place);
    if (!channel_full_ && !short_of_memory_) send_owed(place);
  }
}

/// Forks a worker for a place, or a spare that shares `call`.
Forked Server::fork_worker(std::uint32_t index, std::uint32_t generation,
                           SpareCall* call) noexcept {
  started_ = true;
  Forked forked;
  auto [ours, theirs] = detail::try_create_descriptors([](int* ends) {
    return system_calls.socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
  });
  const pid_t child = ours ? system_calls.fork() : -1;
  if (child == 0) {
    WorkerStart worker{.index = index,
                       .generation = generation,
                       .pool = start_.pool,
                       .descriptors = start_.descriptors,
                       .socket = theirs.get(),
                       .initializer = start_.initializer,
                       .modules = start_.modules,
                       .call = call,
                       .has_cpu = start_.pool.workers <= cpus_};
    worker.descriptors.channel = -1;
    start_worker(worker, start_.worker_main, pid_);
  }
  if (child < 0) {
    forked.error = errno;
    return forked;
  }
  wants_spare_ = true;
  forked.pid = child;
  // Only this process can reap the child, so the pid is still its own.
  forked.pidfd = detail::try_create_descriptor([&] { return system_calls.pidfd_open(child, 0); });
  if (!forked.pidfd) {
    // The parent couldn't watch it. Once it is reaped, it is reported as never started.
    forked.error = errno;
    system_calls.kill(child, SIGKILL);
    return forked;
  }
  forked.socket = std::move(ours);
  return forked;
}

void Server::start_worker_of(Place& place) noexcept {
  place.start_wanted = false;
  place.generation = place.wanted_generation;
  const auto index = static_cast<std::uint32_t>(&place - places_.data());
  Forked forked;
  if (spare_.pid() != 0) {
    forked = spare_.call(index, place.generation);
    system_calls.kill(forked.pid, SIGCONT);  // whoever has stopped it could not know it
  } else {
    forked = fork_worker(index, place.generation, nullptr);
  }
  place.error = forked.error;
  place.pid = place.reported_pid = forked.pid;
  place.pidfd = std::move(forked.pidfd);
  place.socket = std::move(forked.socket);
  place.owes_fork_failed = forked.pid == 0;
  place.owes_spawned = forked.error == 0;
}

void Server::start_spare() noexcept {
  SpareCall* const call = spare_.prepare();
  if (call != nullptr) {
    Forked forked = fork_worker(0, 0, call);
    if (forked.error == 0) {
      spare_.forked(std::move(forked));
      return;
    }
  }
  spare_.forget();
  wants_spare_ = false;  // until a worker can be forked
}

/// Reports in the order of events, as far as the channel takes them.
void Server::send_owed(Place& place) noexcept {
  Report report{.worker = static_cast<std::uint32_t>(&place - places_.data()),
                .generation = place.generation,
                .pid = place.reported_pid};
  if (place.owes_spawned) {
    report.kind = Report::Kind::spawned;
    const std::array carried{place.pidfd.get(), place.socket.get()};
    if (!send(report, carried)) return;
    place.owes_spawned = false;
    place.pidfd.reset();
    place.socket.reset();
  }
  if (place.owes_fork_failed) {
    report.kind = Report::Kind::fork_failed;
    report.error = place.error;
    if (send(report, {})) place.owes_fork_failed = false;
  } else if (place.owes_exited) {
    report.kind = Report::Kind::exited;
    report.code = place.code;
    report.status = place.status;
    if (!send(report, {})) return;
    place.owes_exited = false;
    if (cpus_ > 1) spare_.will_be_called();
  }
}

bool Server::send(const Report& report, std::span<const int> descriptors) noexcept {
  if (detail::send_message(start_.descriptors.channel, &report, sizeof report, descriptors,
                           false) >= 0) {
    return true;
  }
  if (errno == EAGAIN) {
    channel_full_ = true;
  } else if (detail::short_of_memory(errno)) {
    // Perhaps too many descriptors are under way; the parent's reading makes room, silently.
    short_of_memory_ = true;
  } else {
    ended_ = true;
  }
  return false;
}

void Server::end_workers() noexcept {
  // Those that may not be killed are left to `end_all`.
  for (Place& place : places_) {
    if (place.pid != 0 && system_calls.kill(place.pid, SIGKILL) != 0) place.pid = 0;
  }
  if (spare_.pid() != 0 && system_calls.kill(spare_.pid(), SIGKILL) != 0) spare_.forget();
  // Reaped one by one, because the list of all children may not be readable.
  for (const Place& place : places_) {
    if (place.pid != 0) Children::reap(place.pid);
    if (place.ending != 0) Children::reap(place.ending);
  }
  if (spare_.pid() != 0) Children::reap(spare_.pid());
  children_.end_all();
}

}  // namespace

bool serve(const ForkServerStart& start) noexcept {
  Server server{start};
  const bool served = server.serve();
  server.end_workers();
  return served;
}

void run_fork_server(const ForkServerStart& start) noexcept {
  const ring::PoolDescriptors& given = start.descriptors;
  const std::array kept{given.channel, given.tasks,    given.claims,
                        given.lanes,   given.doorbell, start.host};
  become_server("libpool-server", kept);
  if (start.pool.core_dumps == 0) disable_core_dumps();
  prepare_workers(start.pool);
  ::_exit(serve(start) ? EXIT_SUCCESS : EXIT_FAILURE);
}

}  // namespace libpool::worker
