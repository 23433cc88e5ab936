/// The one table through which the library calls the kernel, so that a test can make any call fail.
///
/// Used in the parent, the fork server and the workers; forked processes inherit the table as it
/// is. Each entry behaves like the call it is named after: -1 (or `MAP_FAILED`) and `errno` on
/// failure. All of them may be called between fork and the worker's main.
///
/// Beside it the library calls only what others do for it: Boost.Interprocess maps the segments,
/// the C++ library starts threads, reads clocks, yields, and reads the files of the CPU quota.
#pragma once

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

// NOLINTNEXTLINE(readability-identifier-naming): of <linux/futex.h>
struct futex_waitv;

namespace libpool::detail {

/// The kernel's `sched_attr`, as far as it was first published.
struct SchedulingAttributes {
  std::uint32_t size;
  std::uint32_t policy;
  std::uint64_t flags;
  std::int32_t nice;
  std::uint32_t priority;
  std::uint64_t slice_ns;  ///< `sched_runtime`
  std::uint64_t deadline_ns;
  std::uint64_t period_ns;
};

/// Plain function pointers. Tests replace entries while no other thread uses the library.
struct SystemCalls {
  // Memory and files.
  int (*memfd_create)(const char* name, unsigned flags);
  int (*fallocate)(int fd, int mode, off_t offset, off_t bytes);
  int (*ftruncate)(int fd, off_t bytes);
  int (*fcntl)(int fd, int command, long argument);
  void* (*mmap)(void* where, std::size_t bytes, int protection, int flags, int fd, off_t offset);
  int (*munmap)(void* begin, std::size_t bytes);
  int (*madvise)(void* begin, std::size_t bytes, int advice);
  int (*mincore)(void* begin, std::size_t bytes, unsigned char* present);
  int (*open)(const char* path, int flags);
  ssize_t (*read)(int fd, void* into, std::size_t bytes);
  ssize_t (*pread)(int fd, void* into, std::size_t bytes, off_t offset);
  ssize_t (*write)(int fd, const void* from, std::size_t bytes);
  ssize_t (*readlink)(const char* path, char* into, std::size_t bytes);
  int (*close)(int fd);
  int (*dup2)(int from, int to);

  // Waiting and waking. The futexes are shared between processes, never private.
  int (*poll)(pollfd* fds, nfds_t count, int timeout_ms);
  int (*ppoll)(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask);
  /// `timeout` is relative; null waits without end.
  int (*futex_wait)(const std::uint32_t* word, std::uint32_t expected, const timespec* timeout);
  int (*futex_wake)(const std::uint32_t* word, int waiters);
  /// Waits without end for one of at most 128 words (Linux 5.16).
  int (*futex_waitv)(futex_waitv* words, unsigned count);
  int (*eventfd)(unsigned value, int flags);
  int (*pipe2)(int* ends, int flags);
  int (*clock_gettime)(clockid_t clock, timespec* now);
  int (*nanosleep)(const timespec* pause, timespec* left);
  int (*membarrier)(int command);

  // Sockets.
  int (*socketpair)(int domain, int type, int protocol, int* ends);
  ssize_t (*sendmsg)(int socket, const msghdr* message, int flags);
  ssize_t (*recvmsg)(int socket, msghdr* message, int flags);
  int (*shutdown)(int socket, int how);

  // Processes.
  pid_t (*fork)();
  int (*waitid)(idtype_t kind, id_t id, siginfo_t* info, int options);
  int (*pidfd_open)(pid_t pid, unsigned flags);
  int (*pidfd_send_signal)(int pidfd, int signal);
  int (*kill)(pid_t pid, int signal);
  pid_t (*getpid)();
  pid_t (*getppid)();
  pid_t (*getpgrp)();
  int (*setpgid)(pid_t pid, pid_t group);
  int (*prctl)(int option, unsigned long argument);
  int (*getrlimit)(int resource, rlimit* limit);
  int (*setrlimit)(int resource, const rlimit* limit);
  int (*sched_getaffinity)(pid_t pid, std::size_t bytes, cpu_set_t* cpus);
  int (*sched_getattr)(SchedulingAttributes* attributes);        ///< of the calling thread
  int (*sched_setattr)(const SchedulingAttributes* attributes);  ///< of the calling thread
  ssize_t (*getrandom)(void* into, std::size_t bytes, unsigned flags);

  // Signals.
  int (*setitimer)(int timer, const itimerval* value, itimerval* before);
  int (*signalfd)(int fd, const sigset_t* signals, int flags);
  int (*sigaction)(int signal, const struct sigaction* action, struct sigaction* before);
  int (*sigaltstack)(const stack_t* stack, stack_t* before);
  int (*pthread_sigmask)(int how, const sigset_t* signals, sigset_t* before);
  int (*sigtimedwait)(const sigset_t* signals, siginfo_t* info, const timespec* timeout);
};

/// Constant-initialised with the real calls, so that it may be used before `main`.
extern SystemCalls system_calls;

/// Throws `std::system_error` for `error`, naming the call that failed.
[[noreturn]] void throw_system_error(const char* call, int error = errno);

/// Repeats a call of the table for as long as a signal handler of the host interrupts it.
template <class Call>
auto retry_interrupted(Call call) noexcept(noexcept(call())) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

}  // namespace libpool::detail
