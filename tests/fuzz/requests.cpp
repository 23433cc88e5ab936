/// What a pool asks of its fork server, whatever it is, while workers die and resources run out:
/// the server has at most one process a worker, kills none but its own, reports what happened to
/// each in order, holds a few descriptors at most for each, and in the end leaves no process.
///
/// The kernel is played: its calls take no time, and a child is a number.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include <libpool/detail/system.hpp>
#include <tests/fuzz/input.hpp>
#include <worker/fork_server.hpp>
#include <worker/fork_server_messages.hpp>

using namespace libpool;
using fuzz::Input;
using fuzz::require;
using worker::Report;
using worker::Request;

namespace {

constexpr std::uint32_t workers = 20;  // more than are forked in a round
constexpr int channel = 50;
constexpr int host = 51;
constexpr pid_t server_pid = 1000;

class Kernel {
 public:
  explicit Kernel(Input& input) : before_(detail::system_calls), input_(input) {
    current = this;
    auto& calls = detail::system_calls;
    calls = {};  // any other call is one too many
    calls.fcntl = before_.fcntl;
    calls.getpid = [] { return server_pid; };
    calls.getpgrp = [] { return pid_t{1}; };
    calls.signalfd = [](int, const sigset_t*, int) { return current->open(); };
    calls.pidfd_open = [](pid_t, unsigned) { return current->fails() ? -1 : current->open(); };
    calls.open = [](const char*, int) {
      errno = ENOENT;  // no /proc
      return -1;
    };
    calls.readlink = [](const char*, char*, std::size_t) { return ssize_t{-1}; };
    calls.sched_getaffinity = [](pid_t, std::size_t, cpu_set_t*) { return -1; };
    calls.prctl = [](int, unsigned long) { return 0; };
    calls.sched_getattr = [](detail::SchedulingAttributes*) { return 0; };
    calls.sched_setattr = [](const detail::SchedulingAttributes* attributes) {
      require(attributes->slice_ns > 0, "a slice is some time");
      return 0;
    };
    calls.close = [](int fd) {
      require(current->open_.erase(fd) == 1, "what is closed was open");
      return 0;
    };
    calls.read = [](int, void*, std::size_t) {
      errno = EAGAIN;
      return ssize_t{-1};
    };
    calls.pread = [](int, void*, std::size_t, off_t) { return ssize_t{-1}; };
    calls.mmap = [](void*, std::size_t bytes, int, int, int, off_t) {
      require(bytes <= current->table_.size(), "the table is as large as the pool");
      return static_cast<void*>(current->table_.data());
    };
    calls.socketpair = [](int, int, int, int* ends) {
      if (current->fails()) return -1;
      ends[0] = current->open();
      ends[1] = current->open();
      return 0;
    };
    calls.poll = [](pollfd* fds, nfds_t count, int timeout) {
      return current->poll({fds, count}, timeout);
    };
    calls.recvmsg = [](int, msghdr* into, int) { return current->receive(*into); };
    calls.sendmsg = [](int, const msghdr* message, int) { return current->send(*message); };
    calls.fork = [] { return current->fork(); };
    calls.kill = [](pid_t pid, int signal) { return current->kill(pid, signal); };
    calls.waitid = [](idtype_t kind, id_t id, siginfo_t* info, int options) {
      return current->wait(kind, static_cast<pid_t>(id), *info, options);
    };
  }
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;
  ~Kernel() {
    detail::system_calls = before_;
    require(children_.empty(), "all processes are dead and reaped in the end");
  }

 private:
  enum class Child : std::uint8_t { alive, dead };

  /// Whether a call is out of luck.
  bool fails() {
    if (ending_ || input_.below(8) != 7) return false;
    constexpr std::array errors{EMFILE, ENOMEM, EAGAIN, ENFILE};
    errno = errors[input_.below(errors.size())];
    return true;
  }

  int open() {
    open_.insert(next_fd_);
    require(open_.size() <= 2 + 3 * workers, "descriptors go with the reports that carry them");
    return next_fd_++;
  }

  int poll(std::span<pollfd> fds, int timeout) {
    for (pollfd& fd : fds) fd.revents = 0;
    if (input_.empty()) {
      ending_ = true;
      fds[0].revents = POLLRDHUP;
      return 1;
    }
    // A script without end is no wait without end.
    if (timeout == 0 && input_.below(2) == 0) return 0;
    switch (input_.below(8)) {
      case 0:
        fds[1].revents = ending_ = POLLIN;
        break;
      case 1:
      case 2:
        die();
        fds[2].revents = POLLIN;
        break;
      case 3:
        errno = EINTR;
        return -1;
      default:
        requests_ = input_.below(4);
        fds[0].revents = POLLIN;
    }
    return 1;
  }

  void die() {
    if (children_.empty()) return;
    std::next(children_.begin(), input_.below(static_cast<std::uint32_t>(children_.size())))
        ->second = Child::dead;
  }

  ssize_t receive(msghdr& into) {
    if (requests_ == 0) {
      errno = EAGAIN;
      return -1;
    }
    --requests_;
    if (fails()) return -1;
    Request request;
    request.kind = static_cast<Request::Kind>(input_.below(16) == 15 ? 3 : 1 + input_.below(2));
    const bool wild = input_.below(16) == 15;
    request.worker = wild ? input_.take<std::uint32_t>() : input_.below(workers);
    request.count =
        wild ? input_.take<std::uint32_t>() : input_.below(workers - request.worker) + 1;
    request.generation = input_.below(4);
    const std::size_t bytes = input_.below(32) == 31 ? input_.below(20) : sizeof request;
    std::memcpy(into.msg_iov->iov_base, &request, std::min(bytes, into.msg_iov->iov_len));
    into.msg_controllen = 0;
    return static_cast<ssize_t>(bytes);
  }

  ssize_t send(const msghdr& message) {
    if (!ending_ && input_.below(8) == 7) {
      constexpr std::array errors{EAGAIN, ENOBUFS, ETOOMANYREFS, EPIPE};
      errno = errors[input_.below(errors.size())];
      return -1;
    }
    const iovec& part = *message.msg_iov;
    Report report;
    require(part.iov_len == sizeof report, "a report is sent whole");
    std::memcpy(&report, part.iov_base, sizeof report);
    take(report);
    return static_cast<ssize_t>(part.iov_len);
  }

  /// What a worker's reports may say: started or not, and the end of what has started.
  void take(const Report& report) {
    require(report.worker < workers, "a report is about a worker");
    switch (report.kind) {
      case Report::Kind::ready:
        require(started_.empty(), "ready comes first");
        return;
      case Report::Kind::spawned:
        require(started_.emplace(report.worker, report.pid).second, "a worker is one process");
        return;
      case Report::Kind::fork_failed:
        require(!started_.contains(report.worker), "no start fails that was reported");
        require(report.error != 0, "a failed start has a reason");
        return;
      case Report::Kind::exited:
        require(started_.contains(report.worker) && started_[report.worker] == report.pid,
                "what ends has been reported as started");
        require(!children_.contains(report.pid), "it has been reaped");
        started_.erase(report.worker);
    }
  }

  pid_t fork() {
    if (fails()) return -1;
    children_.emplace(++last_pid_, Child::alive);
    require(children_.size() <= workers, "no worker is there twice");
    return last_pid_;
  }

  int kill(pid_t pid, int signal) {
    require(signal == SIGKILL, "the server only kills");
    const auto child = children_.find(pid);
    require(child != children_.end(), "the server kills none but its own");
    child->second = Child::dead;
    return 0;
  }

  int wait(idtype_t kind, pid_t pid, siginfo_t& info, int options) {
    if (children_.empty() || (kind == P_PID && !children_.contains(pid))) {
      errno = ECHILD;
      return -1;
    }
    info = {};
    const auto child =
        kind == P_PID ? children_.find(pid)
                      : std::find_if(children_.begin(), children_.end(),
                                     [](const auto& one) { return one.second == Child::dead; });
    const bool waits = child == children_.end() || child->second == Child::alive;
    require(!waits || (options & WNOHANG) != 0, "the server waits for the dead only");
    if (waits) return 0;
    info.si_pid = child->first;
    info.si_code = CLD_KILLED;
    info.si_status = SIGKILL;
    if ((options & WNOWAIT) == 0) children_.erase(child);
    return 0;
  }

  static inline Kernel* current = nullptr;
  const detail::SystemCalls before_;
  Input& input_;
  std::array<std::max_align_t, 256> storage_{};
  std::span<std::byte> table_ = std::as_writable_bytes(std::span(storage_));
  bool ending_ = false;  ///< the host is gone: no more surprises
  std::uint32_t requests_ = 0;
  int next_fd_ = 100;
  pid_t last_pid_ = server_pid;
  std::set<int> open_;
  std::map<pid_t, Child> children_;
  std::map<std::uint32_t, pid_t> started_;  ///< as reported, by worker
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  Kernel kernel(input);
  worker::ForkServerStart start;
  start.pool.workers = workers;
  start.descriptors.channel = channel;
  start.host = host;
  (void)worker::serve(start);
  return 0;
}
