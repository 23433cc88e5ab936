/// The first lines of a worker, and its last ones.
///
/// Runs in a worker, between the fork server's fork and the worker loop. A death here is reported
/// by the fork server as that of a worker that never claimed anything.
#include <worker/worker_start.hpp>

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include <libpool/detail/system.hpp>
#include <worker/inheritance.hpp>
#include <worker/spare.hpp>

#ifdef __GLIBC__
/// What `at_quick_exit` calls from a part of the C library that is in every program, and that would
/// be looked up in the process that comes there first.
// NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming): the C library's name
extern "C" int __cxa_at_quick_exit(void (*handler)(void*), void* argument) noexcept;
#endif

namespace libpool::worker {
namespace {

using detail::system_calls;

/// The fork server that this process is a worker of; 0 in all others. Written before user code
/// runs.
constinit pid_t server_pid = 0;

/// Only the standard streams: flushing all would move the offsets of input files, which are shared
/// with the host, and write what other streams had buffered when the host was forked.
void flush_standard_streams() noexcept {
  try {
    std::cout.flush();
    std::cerr.flush();
    std::clog.flush();
    std::wcout.flush();
  } catch (...) {
    // Streams that throw on errors have nothing more to say here.
  }
  std::fflush(stdout);
  std::fflush(stderr);
}

/// Makes `exit(status)` in a task end as `leave_worker(status)` does. Registered last, it runs
/// before every handler and static destructor of the host.
void leave_on_exit(int status, void*) { leave_worker(status); }

/// The same for `quick_exit`, which flushes nothing.
void leave_on_quick_exit(void*, int status) { ::_exit(status); }

void register_exit_handlers() noexcept {
  if (::on_exit(&leave_on_exit, nullptr) != 0) ::_exit(EXIT_FAILURE);
#ifdef __GLIBC__
  // `at_quick_exit` promises its handlers no argument, but glibc calls them as it calls those of
  // `__cxa_atexit`, with the status as the second one. Elsewhere the host's handlers run in the
  // worker.
  const auto handler = reinterpret_cast<void (*)()>(&leave_on_quick_exit);
  __cxa_at_quick_exit(reinterpret_cast<void (*)(void*)>(handler), nullptr);
#endif
}

/// What one task needed, the next one needs again. Of the threshold for blocks that have a mapping
/// of their own, glibc allows no more than 32 MiB, and less than its own 128 KiB helps nobody.
void keep_freed_memory(std::uint64_t bytes) noexcept {
  const std::uint64_t largest_heap_block = std::clamp<std::uint64_t>(bytes, 128 << 10, 32 << 20);
  ::mallopt(M_TRIM_THRESHOLD, static_cast<int>(std::min<std::uint64_t>(bytes, INT_MAX)));
  ::mallopt(M_MMAP_THRESHOLD, static_cast<int>(largest_heap_block));
}

}  // namespace

void prepare_workers(const ring::PoolDescription& pool) noexcept {
  register_exit_handlers();
  keep_freed_memory(pool.worker_memory);
}

void start_worker(WorkerStart start, WorkerMain main, pid_t server) noexcept {
  // ---- The frontier: this process is a fork of one that may have had threads. Up to the line
  // below, nothing allocates, locks, throws or uses stdio; a failure leaves by `_exit`.
  server_pid = server;
  die_with_server();
  const std::array kept{start.socket, start.descriptors.tasks, start.descriptors.claims,
                        start.descriptors.lanes, start.descriptors.doorbell};
  become_worker(kept);
  if (start.call != nullptr) await_call(start);
  // ---- Here it ends. What follows takes locks of the C library that no thread of the fork server
  // can hold.
  reseed_random();
  main(start);
  leave_worker(EXIT_SUCCESS);
}

void die_with_server() noexcept {
  system_calls.prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The server may have died before the call, and then no signal comes.
  if (system_calls.getppid() != server_pid) ::_exit(EXIT_FAILURE);
}

void apply_memory_limit(std::uint64_t bytes) {
  if (bytes == UINT64_MAX) return;
  const int file = system_calls.open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) detail::throw_system_error("open /proc/self/statm");
  std::array<char, 128> text{};
  const ssize_t length = system_calls.read(file, text.data(), text.size());
  const int error = errno;
  system_calls.close(file);
  if (length < 0) detail::throw_system_error("read /proc/self/statm", error);
  std::uint64_t pages = 0;  // the first number is the size of the address space
  if (std::from_chars(text.data(), text.data() + length, pages).ec != std::errc{}) {
    detail::throw_system_error("parse /proc/self/statm", EINVAL);
  }
  const std::uint64_t mapped = pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  rlimit limit{};
  if (system_calls.getrlimit(RLIMIT_AS, &limit) != 0) detail::throw_system_error("getrlimit");
  const std::uint64_t wanted = bytes > UINT64_MAX - mapped ? UINT64_MAX : mapped + bytes;
  limit.rlim_cur = std::min<rlim_t>(wanted, limit.rlim_max);
  if (system_calls.setrlimit(RLIMIT_AS, &limit) != 0) detail::throw_system_error("setrlimit");
}

void leave_worker(int status) noexcept {
  flush_standard_streams();
  ::_exit(status);
}

bool inside_worker() noexcept { return server_pid != 0; }

}  // namespace libpool::worker
