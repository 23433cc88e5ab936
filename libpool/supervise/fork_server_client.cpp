/// Starting, asking, hearing and ending a fork server.
///
/// Runs in the parent; the fork server starts its life here. See the header for what its death
/// leaves.
#include <libpool/supervise/fork_server_client.hpp>

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <utility>

#include <libpool/detail/descriptor_message.hpp>
#include <libpool/detail/fork_process.hpp>
#include <libpool/detail/prefork_root.hpp>
#include <libpool/detail/process_identity.hpp>
#include <libpool/detail/system.hpp>
#include <worker/fork_server.hpp>

namespace libpool::supervise {
namespace {

using detail::FileDescriptor;
using detail::system_calls;
using worker::Report;
using worker::Request;

/// Reads one message into `event`; -1 and `errno`, or 0 at the end of file.
ssize_t read_event(int channel, ForkServer::Event& event) noexcept {
  const detail::DescriptorLock lock;
  std::array<int, 2> numbers{-1, -1};
  const auto received =
      detail::receive_message(channel, &event.report, sizeof event.report, numbers);
  if (received.descriptors > 0) event.pidfd = FileDescriptor{numbers[0]};
  if (received.descriptors > 1) event.socket = FileDescriptor{numbers[1]};
  return received.bytes;
}

/// Whether a fork server could have sent this after its `ready`.
bool plausible(const Report& report, std::uint32_t workers) noexcept {
  switch (report.kind) {
    case Report::Kind::spawned:
    case Report::Kind::fork_failed:
    case Report::Kind::exited:
      return report.worker < workers;
    case Report::Kind::ready:
      break;
  }
  return false;
}

/// Reaps the process if it is a dead child of ours; the host may have done so already, or ignore
/// SIGCHLD.
void reap(int process) noexcept {
  siginfo_t ignored{};
  detail::retry_interrupted([&] {
    return system_calls.waitid(P_PIDFD, static_cast<id_t>(process), &ignored, WEXITED | WNOHANG);
  });
}

/// A server killed from outside leaves processes of tasks in its process group. While it is not
/// reaped, the group's number cannot have come to mean another group.
void kill_orphaned_group(int process, pid_t group) noexcept {
  siginfo_t info{};
  const int waited =
      system_calls.waitid(P_PIDFD, static_cast<id_t>(process), &info, WEXITED | WNOHANG | WNOWAIT);
  if (waited == 0 && info.si_pid == group && info.si_code != CLD_EXITED) {
    system_calls.kill(-group, SIGKILL);
  }
}

/// Waits until the root has reaped the server of a pool, and its orphans if it was killed.
void await_root(int channel, int process) noexcept {
  constexpr int look_again_ms = 5;
  for (;;) {
    // The root hangs up when it is done. A process that the host forked at the wrong moment may
    // hold on to the same end, so that this alone could wait for it; then the pid's end has to do.
    pollfd hang_up{channel, 0, 0};
    system_calls.poll(&hang_up, 1, look_again_ms);
    if ((hang_up.revents & POLLHUP) != 0) return;
    reap(process);  // in case the root is dead and the server has become our child
    if (system_calls.pidfd_send_signal(process, 0) != 0) return;
    if (detail::root_of_this_process() == nullptr) return;
  }
}

/// Workers that the owner has not been told of are known to nobody else. Where the server ended
/// them, they are dead already; if it was killed, the kernel is about to.
void await_unreported(int channel) noexcept {
  for (;;) {
    ForkServer::Event event;
    const ssize_t bytes = read_event(channel, event);
    if (bytes < 0 && detail::short_of_memory(errno)) continue;
    if (bytes <= 0) return;
    if (event.pidfd) await_death(event.pidfd.get());
  }
}

}  // namespace

ForkServer ForkServer::start(const ring::PoolDescription& pool,
                             const ring::PoolDescriptors& descriptors,
                             const std::function<void()>& initializer,
                             worker::WorkerMain worker_main) {
  ForkServer server;
  server.owner_ = detail::process_identity();
  server.workers_ = pool.workers;
  if (!initializer && server.fork_from_root(pool, descriptors, worker_main)) return server;
  server.fork_own(pool, descriptors, initializer, worker_main);
  return server;
}

ForkServer& ForkServer::operator=(ForkServer&& other) noexcept {
  if (this == &other) return *this;
  shut_down();
  channel_ = std::move(other.channel_);
  process_ = std::move(other.process_);
  pid_ = other.pid_;
  owner_ = other.owner_;
  workers_ = other.workers_;
  rooted_ = other.rooted_;
  modules_ = std::move(other.modules_);
  unsent_ = std::move(other.unsent_);
  lost_ = other.lost_;
  return *this;
}

bool ForkServer::fork_from_root(const ring::PoolDescription& pool,
                                const ring::PoolDescriptors& descriptors,
                                worker::WorkerMain worker_main) {
  const detail::PreforkRoot* root = detail::root_of_this_process();
  if (root == nullptr) return false;
  const worker::PoolRequest request{.pool = pool, .worker_main = worker_main};
  auto [ours, theirs] = detail::create_channel();
  const FileDescriptor host = detail::own_pidfd();
  const std::array carried{theirs.get(),      descriptors.tasks,    descriptors.claims,
                           descriptors.lanes, descriptors.doorbell, host.get()};
  static_assert(carried.size() == worker::PoolRequest::descriptors);
  if (detail::send_message(root->channel.get(), &request, sizeof request, carried, true) < 0) {
    return false;
  }
  theirs.reset();
  channel_ = std::move(ours);
  if (await_ready(root->process.get()) != 0) {
    // Whatever the root couldn't do, a server that it may have forked ends with the channel.
    hang_up();
    channel_.reset();
    return false;
  }
  rooted_ = true;
  modules_ = root->modules;
  return true;
}

void ForkServer::fork_own(const ring::PoolDescription& pool,
                          const ring::PoolDescriptors& descriptors,
                          const std::function<void()>& initializer,
                          worker::WorkerMain worker_main) {
  modules_ = std::make_shared<const codec::ModuleMap>(codec::ModuleMap::current());
  auto [ours, theirs] = detail::create_channel();
  const FileDescriptor host = detail::own_pidfd();
  worker::ForkServerStart start{.pool = pool,
                                .descriptors = descriptors,
                                .host = host.get(),
                                .initializer = &initializer,
                                .modules = modules_.get(),
                                .worker_main = worker_main};
  start.descriptors.channel = theirs.get();
  const detail::ForkedProcess forked = detail::fork_process(
      [](void* context) {
        worker::run_fork_server(*static_cast<const worker::ForkServerStart*>(context));
      },
      &start);
  theirs.reset();
  channel_ = std::move(ours);
  const int error = await_ready(forked.process.get());
  if (error == 0) return;
  hang_up();
  channel_.reset();
  await_death(forked.process.get());
  reap(forked.process.get());
  detail::throw_system_error("start of a fork server", error);
}

/// Waits for the server's first report, or for the death of `maker`, who is to send or to cause it.
/// Returns 0 or the error that prevented it.
int ForkServer::await_ready(int maker) {
  for (;;) {
    std::array<pollfd, 2> sources{pollfd{channel_.get(), POLLIN, 0}, pollfd{maker, POLLIN, 0}};
    if (system_calls.poll(sources.data(), sources.size(), -1) < 0) continue;
    if (sources[0].revents == 0 && sources[1].revents == 0) continue;
    Event event;
    const ssize_t bytes = read_event(channel_.get(), event);
    if (bytes < 0 && detail::short_of_memory(errno)) continue;
    if (bytes != sizeof(Report)) return ECHILD;  // it ended without a word
    if (event.report.kind == Report::Kind::fork_failed) return event.report.error;
    if (event.report.kind != Report::Kind::ready) return EPROTO;
    if (!event.pidfd) return EMFILE;
    process_ = std::move(event.pidfd);
    pid_ = event.report.pid;
    return 0;
  }
}

void ForkServer::spawn(std::uint32_t first, std::uint32_t count, std::uint32_t generation) {
  request({Request::Kind::spawn, first, count, generation});
}

void ForkServer::kill(std::uint32_t worker, std::uint32_t generation) {
  request({Request::Kind::kill, worker, 1, generation});
}

void ForkServer::request(const Request& request) {
  unsent_.push_back(request);
  flush();
}

/// Sends what the socket and the kernel take. The rest goes out with later calls.
void ForkServer::flush() noexcept {
  auto next = unsent_.begin();
  for (; next != unsent_.end(); ++next) {
    const ssize_t sent = detail::send_message(channel_.get(), &*next, sizeof(Request), {}, false);
    if (sent >= 0) continue;
    // Else the server is gone, as `receive` will see.
    if (errno != EAGAIN && !detail::short_of_memory(errno)) next = unsent_.end();
    break;
  }
  unsent_.erase(unsent_.begin(), next);
}

std::optional<ForkServer::Event> ForkServer::receive() {
  if (!channel_ || lost_) return std::nullopt;
  flush();
  bool dead = false;
  for (;;) {
    Event event;
    const ssize_t bytes = read_event(channel_.get(), event);
    if (bytes == sizeof(Report) && plausible(event.report, workers_)) return event;
    if (bytes < 0 && (errno == EAGAIN || detail::short_of_memory(errno)) && !dead) {
      dead = is_dead(process_.get());
      if (!dead) return std::nullopt;
      continue;  // what it sent between our look into the channel and its death counts
    }
    lost_ = true;
    return std::nullopt;
  }
}

/// Tells the server to end. Closing would not do: a process that the host has forked may hold a
/// copy of the channel.
void ForkServer::hang_up() noexcept {
  if (system_calls.shutdown(channel_.get(), SHUT_WR) == 0 || !process_) return;
  system_calls.pidfd_send_signal(process_.get(), SIGKILL);
}

void ForkServer::shut_down() noexcept {
  if (!channel_) return;
  if (owner_ != detail::process_identity()) {
    // Descriptors of a process that this one was forked from: the numbers may mean others here.
    channel_.abandon();
    process_.abandon();
    return;
  }
  hang_up();
  system_calls.pidfd_send_signal(process_.get(), SIGCONT);  // a stopped one couldn't end
  await_death(process_.get());
  if (rooted_) {
    await_root(channel_.get(), process_.get());
  } else {
    kill_orphaned_group(process_.get(), pid_);
    reap(process_.get());
  }
  await_unreported(channel_.get());
  channel_.reset();
  process_.reset();
}

void await_death(int pidfd) noexcept {
  pollfd process{pidfd, POLLIN, 0};
  while (system_calls.poll(&process, 1, -1) <= 0) {
  }
}

bool is_dead(int pidfd) noexcept {
  pollfd process{pidfd, POLLIN, 0};
  return detail::retry_interrupted([&] { return system_calls.poll(&process, 1, 0); }) > 0;
}

}  // namespace libpool::supervise
