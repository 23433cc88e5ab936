/// W7 with libpool: what the death of a worker costs.
#include <atomic>
#include <libpool/libpool.hpp>
#include <optional>
#include <ranges>
#include <thread>

#include "compute.hpp"
#include "libpool_workloads.hpp"
#include "process_info.hpp"
#include "process_peer.hpp"

namespace bench {
namespace {

constexpr std::int64_t items = 1000;
constexpr std::int64_t fatal = 500;

/// Of the pool. In its first milliseconds, or in those of a fork where a fork takes long, it has no
/// spare worker yet.
constexpr std::chrono::milliseconds age{200};

/// Written by tasks, in memory that all processes share; times by the clock that all share too.
struct Notes {
  std::atomic<std::int64_t> death;
  std::atomic<std::int64_t> first_start_after;
  std::atomic<bool> deadly;
};

// A task is a function without state, so what it writes to is reached by way of a global.
Notes* notes = nullptr;
std::int64_t steps_a_task = 0;

std::int64_t now() { return Clock::now().time_since_epoch().count(); }

/// A worker that has run no task before is one that took the place of the dead one, if one is dead.
std::int64_t maybe_die(std::int64_t index) {
  static bool fresh = true;
  if (std::exchange(fresh, false) && notes->death.load() != 0) {
    std::int64_t none = 0;
    notes->first_start_after.compare_exchange_strong(none, now());
  }
  if (index == fatal && notes->deadly.load()) {
    notes->death.store(now());
    ::kill(::getpid(), SIGKILL);
  }
  return compute(steps_a_task);
}

struct Run {
  double total_ms = 0;
  std::optional<double> outcome_ms;
  std::optional<double> claim_ms;
};

double milliseconds_after_death(std::int64_t time) {
  return 1e-6 * static_cast<double>(time - notes->death.load());
}

/// A map of all items by a new pool; its caller takes each outcome as it comes.
Run run_once(const Arguments& arguments, const Numbers& input, bool deadly) {
  notes->death = 0;
  notes->first_start_after = 0;
  notes->deadly = deadly;
  libpool::ProcessPool pool(arguments.workers());
  pool.map(increment, numbers(100), {.chunksize = 1});
  std::this_thread::sleep_for(age);
  Run run;
  run.total_ms =
      1e3 * seconds([&] {
        for (const auto& outcome : pool.try_imap_unordered(maybe_die, std::views::all(input))) {
          if (outcome.has_value()) continue;
          check(outcome.index() == static_cast<std::size_t>(fatal) && deadly, "blame");
          run.outcome_ms = milliseconds_after_death(now());
        }
      });
  check(run.outcome_ms.has_value() == deadly, "one death");
  if (const std::int64_t start = notes->first_start_after.load(); start != 0) {
    run.claim_ms = milliseconds_after_death(start);
  }
  return run;
}

void deaths(const Arguments& arguments, Report& report) {
  const SharedMemory memory(sizeof(Notes));
  notes = memory.as<Notes>();
  if (arguments.number("prefork", 0) != 0) libpool::prefork();
  const std::vector<char> ballast = grow_by(arguments.count("parent_mib", 0));
  keep(ballast.data());
  steps_a_task = static_cast<std::int64_t>(50 * steps_in_a_microsecond());
  const Numbers input = numbers(items);
  std::vector<double> outcome;
  std::vector<double> claim;
  std::vector<double> quiet;
  std::vector<double> deadly;
  for (std::size_t i = 0; i < arguments.count("deaths", 20); ++i) {
    quiet.push_back(run_once(arguments, input, false).total_ms);
    const Run run = run_once(arguments, input, true);
    deadly.push_back(run.total_ms);
    outcome.push_back(run.outcome_ms.value());
    if (run.claim_ms) claim.push_back(*run.claim_ms);
  }
  report.add("outcome_ms", median(outcome));
  // None: the others finished all items before a replacement came.
  if (!claim.empty()) report.add("claim_ms", median(claim));
  report.add("longer_ms", median(deadly) - median(quiet));
}

}  // namespace

Workloads libpool_deaths() { return {{"W7", deaths}}; }

}  // namespace bench
