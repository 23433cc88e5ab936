/// The kill storm: all calls of many pools at once, tasks that end their workers in every way, a
/// killer who strikes workers at any moment, and an oracle that believes nobody.
///
/// `storm [SECONDS [SEED]]`: without a time, a million items and ten thousand deaths. Runs in the
/// parent of pools that it makes one after the other; a stuck call ends it with status 3, a
/// violation with status 1. Nothing of a pool may be left after it.
///
/// No timer of the library runs out here: `timeout`s are an hour or none, and what remains are the
/// pauses before the restart of a worker that died before its first claim.
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <tests/stress/storm_calls.hpp>
#include <tests/support/footprint.hpp>
#include <tests/support/oracle.hpp>

namespace {

using namespace storm;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int submitters = 6;
constexpr auto mean_pause = 100us;

/// Only a bug makes a call of a few thousand small items take as long.
constexpr std::uint64_t longest_call_ns = 60'000'000'000;

struct StormTotals {
  std::uint64_t strikes = 0;
  std::uint64_t stops = 0;
  std::uint64_t deaths = 0;
  std::uint64_t servers = 0;
  std::uint64_t pools = 0;
};
StormTotals storm_totals;

/// Ends the program if a call takes for ever: it says which pool, and leaves the rest to `contain`.
class Watchdog {
 public:
  void begins(int submitter) { since_[index(submitter)] = now_ns(); }
  void ends(int submitter) { since_[index(submitter)] = 0; }

 private:
  static std::size_t index(int submitter) { return static_cast<std::size_t>(submitter); }

  void watch(const std::stop_token& end) {
    while (!end.stop_requested()) {
      std::this_thread::sleep_for(100ms);
      for (const auto& since : since_) {
        const std::uint64_t begun = since;
        if (begun == 0 || now_ns() - begun < longest_call_ns) continue;
        std::fprintf(stderr, "VIOLATION: a call has no end\n");
        std::_Exit(3);
      }
    }
  }

  std::array<std::atomic<std::uint64_t>, submitters + 1> since_{};
  std::jthread thread_{[this](const std::stop_token& end) { watch(end); }};
};

/// Strikes workers of one pool. It knows them from the shared page, because a pool that is asked
/// for its workers takes notice of deaths, and could so make up for a wake that it lost.
class Killer {
 public:
  Killer(std::size_t workers, std::uint64_t seed)
      : random_(seed),
        targets_(workers),
        thread_([this](const std::stop_token& end) { run(end); }) {}

 private:
  struct Target {
    pid_t pid = 0;
    std::optional<oracle::Watched> process;
    Clock::time_point wakes;  ///< of a stopped one
    bool stopped = false;
    bool struck = false;
  };

  void run(const std::stop_token& end) {
    std::exponential_distribution<double> pause(1.0);
    auto next = Clock::now();
    while (!end.stop_requested()) {
      // Behind its time it strikes at once, but saves nothing up.
      next = std::max(next, Clock::now() - 1ms);
      next += std::chrono::duration_cast<Clock::duration>(mean_pause * pause(random_));
      std::this_thread::sleep_until(next);
      strike(random_() % targets_.size());
      wake_stopped(Clock::now());
    }
    wake_stopped(Clock::time_point::max());
  }

  void strike(std::size_t index) {
    Target& target = targets_[index];
    if (!aim(target, page.seats[index])) return;
    if (!target.stopped && random_() % 8 == 0) {
      target.process->kill(SIGSTOP);
      target.stopped = true;
      target.wakes = Clock::now() + std::chrono::microseconds(random_() % 3000);
      ++storm_totals.stops;
      return;
    }
    struck_pids[static_cast<std::size_t>(target.pid)] = true;
    page.seats[index].struck = now_ns();
    target.process->kill(SIGKILL);
    target.stopped = false;
    target.struck = true;
    ++storm_totals.strikes;
  }

  /// False if there is no worker of ours to hit, or it is struck already. A number may belong to a
  /// stranger by now, so the process behind it must be a child of the fork server.
  bool aim(Target& target, const Seat& seat) {
    const pid_t pid = seat.pid;
    if (pid == 0) return false;
    if (pid == target.pid) return !target.struck && !target.process->dead();
    target.pid = 0;
    target.process.emplace(pid);
    if (!target.process->found() || oracle::parent_of(pid) != seat.server) return false;
    target.pid = pid;
    target.stopped = target.struck = false;
    return !target.process->dead();
  }

  void wake_stopped(Clock::time_point now) {
    for (Target& target : targets_) {
      if (!target.stopped || target.wakes > now) continue;
      target.process->kill(SIGCONT);
      target.stopped = false;
    }
  }

  Random random_;
  std::deque<Target> targets_;
  std::jthread thread_;
};

/// One pool's life.
class Round {
 public:
  Round(Random& random, Watchdog& watchdog)
      : random_(random),
        watchdog_(watchdog),
        limited_(random() % 4 == 0),
        timed_(random() % 4 == 0),
        workers_(2 + random() % 4),
        quota_(static_cast<std::uint32_t>(20'000 + random() % 40'000)),
        ledger_(quota_, limited_) {
    for (Seat& seat : page.seats) {
      seat.pid = seat.server = 0;
      seat.struck = 0;
    }
  }

  void run(bool kill_server) {
    ProcessPool pool(workers_, options());
    {
      std::vector<std::jthread> threads;
      std::optional<Killer> killer(std::in_place, workers_, random_());
      for (int i = 0; i < submitters; ++i) {
        threads.emplace_back([this, &pool, i, seed = random_()] { submit(pool, i, seed); });
      }
      if (kill_server) strike_server();
      threads.clear();
    }
    watchdog_.begins(submitters);
    if (ledger_.server_struck) {
      check_broken(pool);
    } else {
      check_usable(pool);
    }
    check_stats(pool.stats());
    watchdog_.ends(submitters);
  }

  /// After the pool's end.
  void close() { ledger_.close(); }

 private:
  libpool::PoolOptions options() {
    return {
        .initializer = take_seat,
        .max_tasks_per_child =
            random_() % 4 == 0 ? std::optional<std::size_t>(50 + random_() % 1000) : std::nullopt,
        .memory_limit =
            limited_ ? std::optional<std::size_t>(std::size_t{256} << 20) : std::nullopt,
        .task_slots = random_() % 2 == 0 ? 8u : 256u,
        .task_memory = std::size_t{1} << 20,
        .result_ring = random_() % 2 == 0 ? 4096u : 65536u,
        .restart_intensity = std::size_t{1} << 30,
        .restart_backoff = random_() % 2 == 0 ? 0ms : 5ms,
    };
  }

  void submit(ProcessPool& pool, int submitter, std::uint64_t seed) {
    Random random(seed);
    while (!ledger_.server_struck) {
      const Call& call = calls[random() % calls.size()];
      const auto range = ledger_.take(1 + static_cast<std::uint32_t>(random() % call.most_items),
                                      random() % 2 == 0 ? 0 : random() % 4);
      if (!range) return;
      watchdog_.begins(submitter);
      call.make({pool, ledger_, random, *range, timed_ ? 1h : 0h});
      watchdog_.ends(submitter);
    }
  }

  void strike_server() {
    std::this_thread::sleep_for(std::chrono::milliseconds(random_() % 300));
    const pid_t server = page.seats[0].server;
    if (server == 0 || oracle::parent_of(server) != host) return;
    const oracle::Watched process(server);
    if (oracle::parent_of(server) != host) return;
    ledger_.server_struck = true;
    ++storm_totals.servers;
    process.kill(SIGKILL);
  }

  void check_usable(ProcessPool& pool) {
    std::vector<std::uint64_t> numbers(2000);
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = i;
    const auto halves = pool.map([](std::uint64_t number) { return number / 2; }, numbers);
    for (std::size_t i = 0; i < halves.size(); ++i) {
      if (halves[i] != i / 2) violation("a wrong value after the storm");
    }
    if (!oracle::eventually([&] { return pool.stats().workers.size() == workers_; })) {
      violation("workers are missing after the storm");
    }
  }

  void check_broken(ProcessPool& pool) {
    const bool broken = oracle::eventually([&] {
      try {
        return pool.apply([] { return 7; }) != 7;
      } catch (const libpool::PoolBroken&) {
        return true;
      } catch (const libpool::WorkerCrashed&) {
        return false;
      }
    });
    if (!broken) violation("a pool without its fork server goes on");
  }

  void check_stats(const libpool::PoolStats& stats) {
    ++storm_totals.pools;
    storm_totals.deaths += stats.workers_lost;
    if (stats.crashed + stats.retried > stats.workers_lost) {
      violation("more items are blamed than workers died");
    }
    if (ledger_.server_struck) return;
    if (stats.queued + stats.running != 0) violation("items are left in the pool");
    const std::uint64_t settled =
        stats.succeeded + stats.failed + stats.crashed + stats.timed_out + stats.cancelled;
    if (stats.submitted != settled) {
      violation("the pool counts " + std::to_string(stats.submitted) + " items in and " +
                std::to_string(settled) + " out");
    }
  }

  Random& random_;
  Watchdog& watchdog_;
  const bool limited_;
  const bool timed_;
  const std::size_t workers_;
  const std::uint32_t quota_;
  Ledger ledger_;
};

/// A thread of the host that allocates all the time: a fork may come while it holds malloc's locks.
void make_noise(const std::stop_token& end) {
  std::vector<std::string> kept(64);
  Random random(1);
  while (!end.stop_requested()) {
    for (int i = 0; i < 100; ++i) kept[random() % kept.size()].assign(random() % 5000, 'n');
    std::this_thread::sleep_for(1ms);
  }
}

[[nodiscard]] double milliseconds_at(const std::vector<std::uint32_t>& sorted_us, double part) {
  if (sorted_us.empty()) return 0;
  const auto last = static_cast<double>(sorted_us.size() - 1);
  return sorted_us[static_cast<std::size_t>(last * part)] / 1000.0;
}

void report(double seconds) {
  std::vector<std::uint32_t> recoveries;
  for (std::size_t i = 0; i < std::min(page.recoveries.load(), max_recoveries); ++i) {
    recoveries.push_back(page.recovery_us[i]);
  }
  std::sort(recoveries.begin(), recoveries.end());
  std::printf("%llu items in %.1f s (%.0f/s) through %llu pools\n",
              static_cast<unsigned long long>(totals.items), seconds,
              static_cast<double>(totals.items) / seconds,
              static_cast<unsigned long long>(storm_totals.pools));
  std::printf("%llu deaths: %llu strikes, %llu by own hand, %llu fork servers; %llu stops\n",
              static_cast<unsigned long long>(storm_totals.deaths),
              static_cast<unsigned long long>(storm_totals.strikes),
              static_cast<unsigned long long>(page.own_deaths.load()),
              static_cast<unsigned long long>(storm_totals.servers),
              static_cast<unsigned long long>(storm_totals.stops));
  std::printf(
      "%llu blamed (%llu before an instruction of their own), %llu run again, %llu broken\n",
      static_cast<unsigned long long>(totals.blamed),
      static_cast<unsigned long long>(totals.unproven),
      static_cast<unsigned long long>(totals.rerun),
      static_cast<unsigned long long>(totals.broken));
  std::printf("from a death to the replacement's first claim: median %.2f ms, p99 %.2f ms (%zu)\n",
              milliseconds_at(recoveries, 0.5), milliseconds_at(recoveries, 0.99),
              recoveries.size());
  std::printf("%llu violations\n", static_cast<unsigned long long>(totals.violations));
}

}  // namespace

int main(int argc, char** argv) {
  const double limit = argc > 1 ? std::atof(argv[1]) : 0;
  Random random(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 20240229);
  const auto begin = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  {
    const std::jthread noise(make_noise);
    Watchdog watchdog;
    const auto enough = [&] {
      if (totals.violations != 0) return true;
      if (limit != 0) return seconds() >= limit;
      return totals.items >= 1'000'000 && storm_totals.deaths >= 10'000;
    };
    for (int number = 0; !enough(); ++number) {
      const auto before = libpool::testing::Footprint::now();
      Round round(random, watchdog);
      round.run(number % 5 == 4);
      round.close();
      const std::string left = libpool::testing::settled_growth(before);
      if (!left.empty()) violation("a pool left behind: " + left);
    }
  }
  report(seconds());
  return totals.violations == 0 ? 0 : 1;
}
