/// The real system calls behind `SystemCalls`.
///
/// Runs in every process of the library. Nothing here has a state that a death could leave half
/// done.
#include <libpool/detail/system.hpp>

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <system_error>

namespace libpool::detail {
namespace {

// Wrappers where the C library has none, a variadic one, or one with a type of its own in C++.

int real_fcntl(int fd, int command, long argument) { return ::fcntl(fd, command, argument); }

int real_open(const char* path, int flags) { return ::open(path, flags); }

int real_prctl(int option, unsigned long argument) {
  return ::prctl(option, argument, 0UL, 0UL, 0UL);
}

int real_futex_wait(const std::uint32_t* word, std::uint32_t expected, const timespec* timeout) {
  return static_cast<int>(::syscall(SYS_futex, word, FUTEX_WAIT, expected, timeout, nullptr, 0));
}

int real_futex_wake(const std::uint32_t* word, int waiters) {
  return static_cast<int>(::syscall(SYS_futex, word, FUTEX_WAKE, waiters, nullptr, nullptr, 0));
}

int real_futex_waitv(struct futex_waitv* words, unsigned count) {
  return static_cast<int>(::syscall(SYS_futex_waitv, words, count, 0, nullptr, 0));
}

int real_membarrier(int command) {
  return static_cast<int>(::syscall(SYS_membarrier, command, 0, 0));
}

int real_pidfd_open(pid_t pid, unsigned flags) {
  return static_cast<int>(::syscall(SYS_pidfd_open, pid, flags));
}

int real_pidfd_send_signal(int pidfd, int signal) {
  return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

int real_getrlimit(int resource, rlimit* limit) {
  return ::getrlimit(static_cast<__rlimit_resource_t>(resource), limit);
}

int real_setrlimit(int resource, const rlimit* limit) {
  return ::setrlimit(static_cast<__rlimit_resource_t>(resource), limit);
}

int real_sched_getattr(SchedulingAttributes* attributes) {
  return static_cast<int>(::syscall(SYS_sched_getattr, 0, attributes, sizeof *attributes, 0));
}

int real_sched_setattr(const SchedulingAttributes* attributes) {
  return static_cast<int>(::syscall(SYS_sched_setattr, 0, attributes, 0));
}

int real_setitimer(int timer, const itimerval* value, itimerval* before) {
  return ::setitimer(static_cast<__itimer_which_t>(timer), value, before);
}

/// Returns its error; the table's convention is `errno`.
int real_pthread_sigmask(int how, const sigset_t* signals, sigset_t* before) {
  const int error = ::pthread_sigmask(how, signals, before);
  if (error == 0) return 0;
  errno = error;
  return -1;
}

}  // namespace

constinit SystemCalls system_calls{
    .memfd_create = &::memfd_create,
    .fallocate = &::fallocate,
    .ftruncate = &::ftruncate,
    .fcntl = &real_fcntl,
    .mmap = &::mmap,
    .munmap = &::munmap,
    .madvise = &::madvise,
    .mincore = &::mincore,
    .open = &real_open,
    .read = &::read,
    .pread = &::pread,
    .write = &::write,
    .readlink = &::readlink,
    .close = &::close,
    .dup2 = &::dup2,
    .poll = &::poll,
    .ppoll = &::ppoll,
    .futex_wait = &real_futex_wait,
    .futex_wake = &real_futex_wake,
    .futex_waitv = &real_futex_waitv,
    .eventfd = &::eventfd,
    .pipe2 = &::pipe2,
    .clock_gettime = &::clock_gettime,
    .nanosleep = &::nanosleep,
    .membarrier = &real_membarrier,
    .socketpair = &::socketpair,
    .sendmsg = &::sendmsg,
    .recvmsg = &::recvmsg,
    .shutdown = &::shutdown,
    .fork = &::fork,
    .waitid = &::waitid,
    .pidfd_open = &real_pidfd_open,
    .pidfd_send_signal = &real_pidfd_send_signal,
    .kill = &::kill,
    .getpid = &::getpid,
    .getppid = &::getppid,
    .getpgrp = &::getpgrp,
    .setpgid = &::setpgid,
    .prctl = &real_prctl,
    .getrlimit = &real_getrlimit,
    .setrlimit = &real_setrlimit,
    .sched_getaffinity = &::sched_getaffinity,
    .sched_getattr = &real_sched_getattr,
    .sched_setattr = &real_sched_setattr,
    .getrandom = &::getrandom,
    .setitimer = &real_setitimer,
    .signalfd = &::signalfd,
    .sigaction = &::sigaction,
    .sigaltstack = &::sigaltstack,
    .pthread_sigmask = &real_pthread_sigmask,
    .sigtimedwait = &::sigtimedwait,
};

void throw_system_error(const char* call, int error) {
  throw std::system_error(error, std::generic_category(), call);
}

}  // namespace libpool::detail
