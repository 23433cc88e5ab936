/// A fork server that is not there: what a pool asks it for comes here, and what it reports is up
/// to the script.
///
/// It takes the place of the system calls by which `supervise::ForkServer` starts, asks, hears and
/// ends a server, so that a run costs no process and no system call.
#pragma once

#include <sys/socket.h>

#include <cstring>
#include <deque>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include <libpool/detail/system.hpp>
#include <libpool/supervise/fork_server_client.hpp>
#include <tests/fuzz/input.hpp>

namespace libpool::fuzz {

using worker::Report;
using worker::Request;

class FakeServer {
 public:
  struct Message {
    std::vector<std::byte> bytes;
    std::uint32_t descriptors = 0;
    int flags = 0;
    int control_type = SCM_RIGHTS;
  };

  FakeServer() : before_(detail::system_calls) {
    current = this;
    auto& calls = detail::system_calls;
    calls.fork = [] { return pid_t{4242}; };
    calls.pidfd_open = [](pid_t, unsigned) { return current->open(); };
    calls.socketpair = [](int, int, int, int* ends) {
      current->channel_ = ends[0] = current->open();
      ends[1] = current->open();
      return 0;
    };
    calls.close = [](int fd) {
      require(current->open_.erase(fd) == 1, "what is closed was open");
      return 0;
    };
    calls.poll = [](pollfd* fds, nfds_t count, int timeout) {
      return current->poll({fds, count}, timeout);
    };
    calls.recvmsg = [](int socket, msghdr* into, int) { return current->receive(socket, *into); };
    calls.sendmsg = [](int socket, const msghdr* message, int) {
      return current->send(socket, *message);
    };
    calls.waitid = [](idtype_t, id_t, siginfo_t*, int) {
      errno = ECHILD;
      return -1;
    };
    calls.kill = [](pid_t, int) { return 0; };
    calls.shutdown = [](int, int) { return 0; };
    calls.pidfd_send_signal = [](int pidfd, int signal) {
      if (signal == SIGKILL && current->owner_.contains(pidfd)) {
        current->killed.insert(current->owner_[pidfd].first);
      }
      return 0;
    };
    calls.futex_wake = [](const std::uint32_t*, int) { return 0; };
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;
  ~FakeServer() {
    detail::system_calls = before_;
    require(open_.empty(), "all descriptors are closed in the end");
  }

  void report(const Report& report, std::uint32_t descriptors = 0) {
    Message message;
    message.bytes.resize(sizeof report);
    std::memcpy(message.bytes.data(), &report, sizeof report);
    message.descriptors = descriptors;
    messages.push_back(std::move(message));
  }

  /// The worker's death is reported, but the kernel has not ended it yet.
  void dies(std::uint32_t worker, std::uint32_t generation) { dying_.insert({worker, generation}); }
  /// Now it has, all of them.
  void end_dying() { ended_.merge(dying_); }

  std::deque<Message> messages;                   ///< to be received
  std::map<std::uint32_t, std::uint32_t> wanted;  ///< workers asked for, with their generation
  std::set<std::uint32_t> killed;                 ///< workers told to die
  bool dead = false;                              ///< the server itself

 private:
  using Worker = std::pair<std::uint32_t, std::uint32_t>;  ///< and its generation

  int open() {
    const int fd = next_++;
    open_.insert(fd);
    return fd;
  }

  int poll(std::span<pollfd> fds, int timeout) {
    int ready = 0;
    for (pollfd& fd : fds) {
      const bool fires =
          fd.fd == channel_ ? !messages.empty() : dead || timeout < 0 || has_ended(fd.fd);
      fd.revents = fires ? POLLIN : short{0};
      ready += fires ? 1 : 0;
    }
    return ready;
  }

  [[nodiscard]] bool has_ended(int pidfd) const {
    const auto owner = owner_.find(pidfd);
    return owner != owner_.end() && ended_.contains(owner->second);
  }

  ssize_t send(int socket, const msghdr& message) {
    const iovec& part = *message.msg_iov;
    if (socket != channel_) return static_cast<ssize_t>(part.iov_len);
    Request request;
    require(part.iov_len == sizeof request, "a request is sent whole");
    std::memcpy(&request, part.iov_base, sizeof request);
    for (std::uint32_t i = 0; i < request.count; ++i) {
      if (request.kind == Request::Kind::spawn) {
        wanted[request.worker + i] = request.generation;
      } else {
        killed.insert(request.worker + i);
      }
    }
    return static_cast<ssize_t>(part.iov_len);
  }

  ssize_t receive(int, msghdr& into) {
    if (messages.empty()) {
      errno = EAGAIN;
      return -1;
    }
    const Message message = std::move(messages.front());
    messages.pop_front();
    const iovec& part = *into.msg_iov;
    if (!message.bytes.empty()) {
      std::memcpy(part.iov_base, message.bytes.data(),
                  std::min(part.iov_len, message.bytes.size()));
    }
    into.msg_flags = message.flags;
    const std::size_t length = CMSG_SPACE(message.descriptors * sizeof(int));
    if (message.descriptors == 0 || length > into.msg_controllen) {
      into.msg_controllen = 0;
      return static_cast<ssize_t>(message.bytes.size());
    }
    into.msg_controllen = length;
    cmsghdr* block = CMSG_FIRSTHDR(&into);
    block->cmsg_level = SOL_SOCKET;
    block->cmsg_type = message.control_type;
    block->cmsg_len = CMSG_LEN(message.descriptors * sizeof(int));
    for (std::uint32_t i = 0; i < message.descriptors; ++i) {
      const int fd = message.control_type == SCM_RIGHTS ? open() : -1;
      std::memcpy(CMSG_DATA(block) + i * sizeof fd, &fd, sizeof fd);
      if (i == 0 && message.bytes.size() == sizeof(Report)) {
        Report report;
        std::memcpy(&report, message.bytes.data(), sizeof report);
        if (report.kind == Report::Kind::spawned) owner_[fd] = {report.worker, report.generation};
      }
    }
    return static_cast<ssize_t>(message.bytes.size());
  }

  static inline FakeServer* current = nullptr;
  const detail::SystemCalls before_;
  int channel_ = -1;
  int next_ = 100;
  std::set<int> open_;
  std::map<int, Worker> owner_;  ///< by pidfd
  std::set<Worker> dying_;
  std::set<Worker> ended_;
};

}  // namespace libpool::fuzz
