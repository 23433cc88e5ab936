/// The fork itself.
///
/// Runs in the parent, and in the child up to the call of its function: no lock, allocation or
/// throw there.
#include <libpool/detail/fork_process.hpp>

#include <signal.h>
#include <sys/single_threaded.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>

#include <libpool/detail/system.hpp>

namespace libpool::detail {
namespace {

/// What is buffered at the fork would be written by every process that flushes its copy.
void flush_output() {
  try {
    std::cout.flush();
    std::clog.flush();
    std::wcout.flush();
  } catch (...) {
    // A stream that throws on errors tells its own user at the next write.
  }
  // Flushing all waits for the lock of each stream: for ever, if another thread is blocked in
  // reading one.
  if (__libc_single_threaded) {
    std::fflush(nullptr);
  } else {
    std::fflush(stdout);
    std::fflush(stderr);
  }
}

/// While one lives, no handler of the host runs in this thread, nor in a child that it forks.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    system_calls.pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { system_calls.pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

}  // namespace

ForkedProcess fork_process(void (*child)(void* context), void* context) {
  flush_output();
  ForkedProcess forked;
  int fork_error = 0;
  int pidfd_error = 0;
  {
    const SignalsBlocked blocked;
    const DescriptorLock lock;
    forked.pid = system_calls.fork();
    if (forked.pid == 0) {
      child(context);
      ::_exit(EXIT_FAILURE);
    }
    if (forked.pid < 0) {
      fork_error = errno;
    } else {
      forked.process =
          FileDescriptor{above_standard_streams(system_calls.pidfd_open(forked.pid, 0))};
      if (!forked.process) pidfd_error = errno;
    }
  }
  if (fork_error != 0) throw_system_error("fork", fork_error);
  if (pidfd_error != 0) {
    // It has served nobody yet. Nor does it exist any more if the host's SIGCHLD is ignored and it
    // died.
    system_calls.kill(forked.pid, SIGKILL);
    siginfo_t ignored{};
    retry_interrupted([&] {
      return system_calls.waitid(P_PID, static_cast<id_t>(forked.pid), &ignored, WEXITED);
    });
    throw_system_error("pidfd_open", pidfd_error);
  }
  return forked;
}

FileDescriptor own_pidfd() {
  return create_descriptor("pidfd_open",
                           [] { return system_calls.pidfd_open(system_calls.getpid(), 0); });
}

std::pair<FileDescriptor, FileDescriptor> create_channel() {
  return create_descriptors("socketpair", [](int* ends) {
    return system_calls.socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
  });
}

}  // namespace libpool::detail
