/// A supervisor with a real fork server over plain memory. Its workers do nothing but die when told
/// to; what they would have written before, the test forges.
#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <string>
#include <vector>

#include <libpool/supervise/supervisor.hpp>
#include <tests/support/core_parts.hpp>
#include <tests/support/server_fixture.hpp>

namespace libpool::testing {

/// Word 8 + index of the page tells a worker to exit: with that status, less one.
[[noreturn]] inline void exit_when_told(const worker::WorkerStart& start) {
  auto& word = oracle::page.words[8 + start.index];
  for (;;) {
    if (const auto told = word.exchange(0); told != 0) ::_exit(static_cast<int>(told - 1));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

/// What a fork server of such workers is started with.
struct ServerParts {
  detail::FileDescriptor tasks = make_memfd("test-tasks");
  detail::FileDescriptor claims = make_memfd("test-claims");
  detail::FileDescriptor lanes;
  detail::FileDescriptor doorbell = make_memfd("test-doorbell");

  [[nodiscard]] supervise::ForkServer start(std::uint32_t workers, worker::WorkerMain main) {
    const ring::PoolDescription pool{.workers = workers, .host = ::getpid()};
    lanes = make_lanes(pool);
    return supervise::ForkServer::start(
        pool, {-1, tasks.get(), claims.get(), lanes.get(), doorbell.get()}, {}, main);
  }
};

class SupervisedCore {
 public:
  using Clock = supervise::Supervisor::Clock;

  explicit SupervisedCore(std::uint32_t workers = 2, std::size_t intensity = 100,
                          worker::WorkerMain main = &exit_when_told)
      : core(8, workers),
        stops(workers),
        supervisor(parts_.start(workers, main), core.readers, stops, core.dispatcher,
                   core.collector, {intensity, std::chrono::hours(1), std::chrono::seconds(1)}) {
    supervisor.start();
  }
  ~SupervisedCore() { supervisor.shut_down(); }

  /// Rounds until the condition is true; false if it is not within a minute.
  template <class Condition>
  [[nodiscard]] bool pump_until(Condition condition) {
    return oracle::eventually(
        [&] {
          supervisor.pump(Clock::now(), true, core.deliveries);
          return condition();
        },
        std::chrono::minutes(1));
  }
  void pump() { supervisor.pump(Clock::now(), true, core.deliveries); }

  [[nodiscard]] bool all_alive() {
    return pump_until([&] { return supervisor.workers().size() == stops.size(); });
  }
  /// All workers must be alive.
  [[nodiscard]] pid_t pid(std::uint32_t worker) const { return supervisor.workers()[worker].pid; }

  /// The worker dies of the signal and is buried.
  void kill(std::uint32_t worker, int signal = SIGKILL) {
    REQUIRE(::kill(pid(worker), signal) == 0);
    REQUIRE(pump_until([&] { return supervisor.buried(); }));
  }
  /// The worker exits with the status and is buried.
  void exit(std::uint32_t worker, int status) {
    oracle::page.words[8 + worker] = status + 1;
    REQUIRE(pump_until([&] { return supervisor.buried(); }));
  }

  /// Publishes what is queued; the worker claims the oldest chunk.
  ring::TaskClaimer::Claimed claim(std::uint32_t worker) {
    core.dispatcher.refill(static_cast<std::uint64_t>(Clock::now().time_since_epoch().count()));
    return core.claim(worker);
  }
  /// The only chunk that was requeued, published again and claimed by a worker; throws if there is
  /// none.
  const submit::Chunk& requeued(std::uint32_t worker = 1) {
    const auto claimed = claim(worker);
    return *core.dispatcher.find(claimed.slot, claimed.ticket);
  }

  [[nodiscard]] std::map<std::size_t, std::string> outcomes(const TestJob& test) {
    tally = core.deliver();
    return test.batch->outcomes;
  }

 private:
  oracle::Fresh fresh_;
  ServerParts parts_;

 public:
  TestCore core;
  std::vector<ring::StopWord> stops;
  supervise::Supervisor supervisor;
  collect::Tally tally;  ///< of the last `outcomes`
};

}  // namespace libpool::testing
