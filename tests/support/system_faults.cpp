/// The table of failing system calls. Runs in every process of a test; see the header.
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#include <libpool/detail/system.hpp>
#include <tests/support/oracle.hpp>
#include <tests/support/system_faults.hpp>

namespace libpool::testing::faults {
namespace {

using detail::system_calls;
using detail::SystemCalls;

/// Shared by all processes of a test; zero at first.
struct Page {
  std::atomic<int> armed;
  std::atomic<int> generation;
  std::atomic<std::size_t> call;
  std::atomic<int> error;
  std::atomic<long> nth;
  std::atomic<Action> action;
  std::atomic<long> seen;
  std::atomic<long long> fired_at;
};

Page& page() noexcept {
  static Page& mapped = *[] {
    void* memory =
        ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    return static_cast<Page*>(memory);
  }();
  return mapped;
}

/// Forks of the library between the host and this process.
int generation = 0;
bool installed = false;

SystemCalls real;

/// The error that this call shall fail with; 0: none.
int fault_of(std::size_t call) noexcept {
  if (!installed) return 0;
  Page& plan = page();
  if (plan.armed == 0 || plan.generation != generation) return 0;
  if (plan.call != call && plan.call != any_call) return 0;
  const long seen = ++plan.seen;
  if (seen > plan.nth && plan.action == Action::keep_failing) return plan.error;
  if (seen != plan.nth) return 0;
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  plan.fired_at = now.tv_sec * 1'000'000'000LL + now.tv_nsec;
  if (plan.action == Action::kill) ::kill(::getpid(), SIGKILL);
  return plan.error;
}

/// The message without its descriptors.
ssize_t receive_truncated(int socket, msghdr* message, int flags) {
  const ssize_t bytes = real.recvmsg(socket, message, flags);
  const cmsghdr* block = bytes < 0 ? nullptr : CMSG_FIRSTHDR(message);
  if (block == nullptr) return bytes;
  const std::size_t count = (block->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  for (std::size_t i = 0; i < count; ++i) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(block) + i * sizeof fd, sizeof fd);
    ::close(fd);
  }
  message->msg_controllen = 0;
  message->msg_flags |= MSG_CTRUNC;
  return bytes;
}

template <std::size_t Index, auto Member>
struct Failing;

template <std::size_t Index, class Result, class... Arguments,
          Result (*SystemCalls::*Member)(Arguments...)>
struct Failing<Index, Member> {
  static Result call(Arguments... arguments) {
    const int error = fault_of(Index);
    if constexpr (std::is_same_v<decltype(Member), decltype(&SystemCalls::recvmsg)>) {
      if (error == truncated) return receive_truncated(arguments...);
    }
    // Linux closes the descriptor in any case.
    if constexpr (Index == close_index) {
      if (error != 0) real.close(arguments...);
    }
    if (error != 0) {
      errno = error;
      if constexpr (std::is_pointer_v<Result>) {
        return MAP_FAILED;
      } else {
        return -1;
      }
    }
    const Result result = (real.*Member)(arguments...);
    if constexpr (Index == fork_index) {
      if (result == 0) ++generation;
    }
    return result;
  }
  static constexpr std::size_t close_index = 7;
  static constexpr std::size_t fork_index = 22;
};

using Errors = std::span<const int>;

template <int... Error>
constexpr std::array<int, sizeof...(Error)> errors_of{Error...};

// In the order of `failing_members`, behind which come the functions outside of the table.
constexpr std::array call_list{
    Call{"memfd_create", errors_of<EMFILE, ENFILE, ENOMEM>},
    Call{"fallocate", errors_of<ENOSPC, EINTR, EFBIG>},
    Call{"ftruncate", errors_of<EINTR, EFBIG>},
    Call{"fcntl", errors_of<EMFILE, EPERM>},
    Call{"mmap", errors_of<ENOMEM>},
    Call{"madvise", errors_of<EAGAIN, ENOMEM>},
    Call{"open", errors_of<EMFILE, ENOENT>},
    Call{"close", errors_of<EINTR, EIO>},
    Call{"read", errors_of<EINTR, EIO>},
    Call{"pread", errors_of<EINTR, ENOMEM>},
    Call{"write", errors_of<EINTR>},
    Call{"dup2", errors_of<EBUSY>},
    Call{"poll", errors_of<EINTR, ENOMEM>},
    Call{"ppoll", errors_of<EINTR, ENOMEM>},
    Call{"futex_wait", errors_of<EINTR, EAGAIN>},
    Call{"eventfd", errors_of<EMFILE, ENFILE, ENOMEM>},
    Call{"pipe2", errors_of<EMFILE, ENFILE>},
    Call{"socketpair", errors_of<EMFILE, ENFILE, ENOMEM>},
    Call{"sendmsg", errors_of<EINTR, EAGAIN, ENOBUFS, ENOMEM, ETOOMANYREFS>},
    Call{"recvmsg", errors_of<EINTR, ENOMEM, ECONNRESET, truncated>},
    Call{"waitid", errors_of<EINTR>},
    Call{"pidfd_open", errors_of<EMFILE, ENOMEM>},
    Call{"fork", errors_of<EAGAIN, ENOMEM>},
    Call{"pidfd_send_signal", errors_of<EPERM>},
    Call{"kill", errors_of<EPERM>},
    Call{"setpgid", errors_of<EPERM>},
    Call{"prctl", errors_of<EPERM>},
    Call{"setrlimit", errors_of<EPERM>},
    Call{"getrandom", errors_of<EAGAIN, EINTR>},
    Call{"signalfd", errors_of<EMFILE, ENOMEM>},
    Call{"sigaltstack", errors_of<ENOMEM>},
    Call{"shutdown", errors_of<ENOBUFS>},
    Call{"sched_getattr", errors_of<EINVAL>},
    Call{"sched_setattr", errors_of<EPERM>},
    Call{"readlink", errors_of<ENOENT>},
    Call{"membarrier", errors_of<ENOSYS>},
    Call{"mincore", errors_of<EAGAIN, ENOMEM>},
    Call{"futex_waitv", errors_of<ENOSYS, EINTR>},
    Call{"shared mmap", errors_of<ENOMEM, ENFILE>},
    Call{"pthread_create", errors_of<EAGAIN>},
};
// The sanitizers interpose these two calls themselves.
[[maybe_unused]] constexpr std::size_t shared_mmap_index = call_list.size() - 2;
[[maybe_unused]] constexpr std::size_t thread_index = call_list.size() - 1;

constexpr std::tuple failing_members{
    &SystemCalls::memfd_create,  &SystemCalls::fallocate,   &SystemCalls::ftruncate,
    &SystemCalls::fcntl,         &SystemCalls::mmap,        &SystemCalls::madvise,
    &SystemCalls::open,          &SystemCalls::close,       &SystemCalls::read,
    &SystemCalls::pread,         &SystemCalls::write,       &SystemCalls::dup2,
    &SystemCalls::poll,          &SystemCalls::ppoll,       &SystemCalls::futex_wait,
    &SystemCalls::eventfd,       &SystemCalls::pipe2,       &SystemCalls::socketpair,
    &SystemCalls::sendmsg,       &SystemCalls::recvmsg,     &SystemCalls::waitid,
    &SystemCalls::pidfd_open,    &SystemCalls::fork,        &SystemCalls::pidfd_send_signal,
    &SystemCalls::kill,          &SystemCalls::setpgid,     &SystemCalls::prctl,
    &SystemCalls::setrlimit,     &SystemCalls::getrandom,   &SystemCalls::signalfd,
    &SystemCalls::sigaltstack,   &SystemCalls::shutdown,    &SystemCalls::sched_getattr,
    &SystemCalls::sched_setattr, &SystemCalls::readlink,    &SystemCalls::membarrier,
    &SystemCalls::mincore,       &SystemCalls::futex_waitv,
};
constexpr std::size_t member_count = std::tuple_size_v<decltype(failing_members)>;
static_assert(member_count + 2 == call_list.size());

template <std::size_t... Index>
void replace_all(std::index_sequence<Index...>) noexcept {
  ((system_calls.*std::get<Index>(failing_members) =
        &Failing<Index, std::get<Index>(failing_members)>::call),
   ...);
}

}  // namespace

std::span<const Call> calls() noexcept { return call_list; }

void install() noexcept {
  static_cast<void>(page());
  real = system_calls;
  replace_all(std::make_index_sequence<member_count>());
  installed = true;
}

void arm(const Plan& plan) noexcept {
  Page& shared = page();
  shared.generation = plan.generation;
  shared.call = plan.call;
  shared.error = plan.error;
  shared.nth = plan.nth;
  shared.action = plan.action;
  shared.seen = 0;
  shared.fired_at = 0;
  shared.armed = 1;
}

void disarm() noexcept { page().armed = 0; }

bool fired() noexcept { return page().fired_at != 0; }
long long fired_at() noexcept { return page().fired_at; }

std::string describe(const Plan& plan) {
  std::string text = "generation " + std::to_string(plan.generation) + ", call " +
                     std::to_string(plan.nth) + " of ";
  text += plan.call == any_call ? "all" : call_list[plan.call].name;
  if (plan.action == Action::kill) return text + ": killed";
  const char* name = plan.error == truncated ? "no descriptors" : ::strerrorname_np(plan.error);
  if (plan.action == Action::keep_failing) text += ", and all later ones";
  return text + ": " + (name != nullptr ? name : std::to_string(plan.error));
}

}  // namespace libpool::testing::faults

// A sanitizer has its own of these.
#ifndef ORACLE_SANITIZED

/// Boost maps the pools' memory by it.
extern "C" void* mmap(void* where, std::size_t bytes, int protection, int flags, int fd,
                      off_t offset) noexcept {
  using namespace libpool::testing::faults;
  if ((flags & MAP_SHARED) != 0 && (flags & MAP_ANONYMOUS) == 0) {
    if (const int error = fault_of(shared_mmap_index); error != 0) {
      errno = error;
      return MAP_FAILED;
    }
  }
  // NOLINTNEXTLINE(performance-no-int-to-ptr): what the kernel gives is an address.
  return reinterpret_cast<void*>(::syscall(SYS_mmap, where, bytes, protection, flags, fd, offset));
}

/// `std::thread` starts threads by it.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*start)(void*), void* argument) noexcept {
  using namespace libpool::testing::faults;
  if (const int error = fault_of(thread_index); error != 0) return error;
  static const auto next =
      reinterpret_cast<decltype(&pthread_create)>(::dlsym(RTLD_NEXT, "pthread_create"));
  return next(thread, attributes, start, argument);
}

#endif
