/// A fork server with workers that run what a test tells them, without the rest of a pool.
///
/// Runs in the test's own process, or in a child that the test sacrifices. The destructor ends all
/// processes.
#pragma once

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>

#include <libpool/detail/file_descriptor.hpp>
#include <libpool/ring/layout.hpp>
#include <libpool/ring/pool_description.hpp>
#include <libpool/supervise/fork_server_client.hpp>
#include <tests/support/oracle.hpp>
#include <worker/fork_server_messages.hpp>
#include <worker/worker_start.hpp>

namespace libpool::testing {

using Kind = worker::Report::Kind;
using Event = supervise::ForkServer::Event;

inline detail::FileDescriptor make_memfd(const char* name) {
  return detail::create_descriptor(
      "memfd_create", [&] { return detail::system_calls.memfd_create(name, MFD_CLOEXEC); });
}

/// A spare reads the death words of all lanes, so that they must be there.
inline detail::FileDescriptor make_lanes(const ring::PoolDescription& pool) {
  detail::FileDescriptor lanes = make_memfd("test-lanes");
  if (::ftruncate(lanes.get(), static_cast<off_t>(ring::LaneLayout(pool).total())) != 0) {
    detail::throw_system_error("ftruncate");
  }
  return lanes;
}

/// What a pool would share with its workers, here empty.
struct TestPool {
  ring::PoolDescription description;
  detail::FileDescriptor tasks = make_memfd("test-tasks");
  detail::FileDescriptor claims = make_memfd("test-claims");
  detail::FileDescriptor lanes = make_lanes(description);
  detail::FileDescriptor doorbell = make_memfd("test-doorbell");
  supervise::ForkServer server;

  TestPool(std::uint32_t workers, worker::WorkerMain main,
           const std::function<void()>& initializer = {}, bool core_dumps = false)
      : description{.workers = workers, .core_dumps = core_dumps ? 1u : 0u, .host = ::getpid()},
        server(supervise::ForkServer::start(description, descriptors(), initializer, main)) {}

  [[nodiscard]] ring::PoolDescriptors descriptors() const {
    return {-1, tasks.get(), claims.get(), lanes.get(), doorbell.get()};
  }

  /// The next report, or none within a minute.
  [[nodiscard]] std::optional<Event> next() {
    for (;;) {
      if (auto event = server.receive()) return event;
      if (server.lost()) return std::nullopt;
      pollfd sources[] = {{server.channel(), POLLIN, 0}, {server.process_fd(), POLLIN, 0}};
      constexpr int minute_ms = 60'000;
      if (::poll(sources, 2, minute_ms) == 0) return std::nullopt;
    }
  }

  /// The next report of this kind; others are dropped.
  [[nodiscard]] Event expect(Kind kind) {
    for (;;) {
      auto event = next();
      if (!event) throw std::runtime_error("the fork server says nothing");
      if (event->report.kind == kind) return std::move(*event);
    }
  }

  /// Starts worker 0 and returns how it ends.
  [[nodiscard]] worker::Report run_one(std::uint32_t generation = 1) {
    server.spawn(0, 1, generation);
    return expect(Kind::exited).report;
  }
};

[[noreturn]] inline void sleep_for_ever(const worker::WorkerStart&) {
  for (;;) ::pause();
}

/// Forks a process that no longer belongs to the worker's session or group; its pid goes to `word`.
inline void leave_stray(std::size_t word) {
  const pid_t middle = ::fork();
  if (middle == 0) {
    ::setsid();
    const pid_t stray = ::fork();
    if (stray == 0) {
      oracle::page.words[word] = ::getpid();
      for (;;) ::pause();
    }
    ::_exit(0);
  }
  ::waitpid(middle, nullptr, 0);
}

/// The pid that somebody writes to a word of the oracle's page, or 0 if nobody does.
inline pid_t pid_in_word(std::size_t word) {
  (void)oracle::eventually([word] { return oracle::page.words[word] != 0; });
  return static_cast<pid_t>(oracle::page.words[word].load());
}

}  // namespace libpool::testing
