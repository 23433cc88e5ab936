/// A worker dies after exactly k instructions, for every k, on every path that it takes: a real
/// kill in a real pool, and a real recovery.
///
/// `every_instruction [--must-fail] [--part I/N] [PATH]`: runs in the parent, which drives the
/// pools. Status 1 if an outcome is wrong or missing; with `--must-fail`, for a library with a bug
/// seeded into it, status 1 if all are right. With `--part`, each N-th path only. Elsewhere than on
/// x86-64 Linux it does nothing.
///
/// Not at every instruction: loops that only read, or only write memory of the worker's own, are
/// left after a few rounds (a worker's first looks for a chunk, the seeding of `rand`). Nor while
/// an exception unwinds.
#ifndef __x86_64__
#include <cstdio>
int main() {
  std::puts("every_instruction needs an x86-64 processor: skipped");
  return 77;
}
#else

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include <libpool/libpool.hpp>
#include <tests/stress/every_instruction_calls.hpp>

namespace {

using namespace every;
using stepper::Mode;
using stepper::Spot;

// -- paths -------------------------------------------------------------------------------------

struct Path {
  std::string name;
  Spot begin;
  Spot end;
  Blamed (*call)(ProcessPool& pool);
  std::uint32_t lingers = 0;      ///< ns between the k-th instruction and the death
  std::uint32_t most_visits = 0;  ///< of a loop without stores: dies in its first rounds only
  std::uint32_t first_item = 0;   ///< items before it are blamed for an earlier death
  bool fresh = false;  ///< depends on the place in the ring: its worker has just been started
};

/// `yields`: of a worker without work, before it sleeps.
std::vector<Path> paths_of_lasting_workers(std::uint32_t yields) {
  constexpr std::uint32_t millisecond = 1'000'000;
  const Spot last_yield{Place::yields, yields};
  const Spot sleeps_idle{Place::sleeps, idle};
  return {
      {"decode", {Place::decodes, 1}, {Place::runs, 1}, two_chunks},
      {"run", {Place::runs, 1}, {Place::encodes, 1}, two_chunks},
      {"encode and publish", {Place::encodes, 1}, {Place::ends, 1}, two_chunks},
      {"next item", {Place::ends, 0}, {Place::decodes, 1}, two_chunks},
      {"next chunk", {Place::ends, 1}, {Place::decodes, 2}, two_chunks},
      {"next timed chunk", {Place::ends, 1}, {Place::decodes, 2}, two_timed_chunks},
      {"bits: next item", {Place::runs, 1}, {Place::runs, 2}, two_chunks_of_bits},
      {"bits: next chunk", {Place::runs, 2}, {Place::runs, 3}, two_chunks_of_bits},
      {"bundle: next item", {Place::runs, 35}, {Place::runs, 36}, bundles},
      {"payload of own memory", {Place::ends, 0}, {Place::decodes, 1}, memory_of_its_own},
      {"full ring", {Place::encodes, 1}, {Place::sleeps, blocked}, full_ring, 0, 0, 0, true},
      {"room again", {Place::wakes, blocked}, {Place::ends, 1}, full_ring, 0, 0, 0, true},
      {"first looks", {Place::ends, 0}, {Place::yields, 1}, one_item, 0, 3},
      {"park", last_yield, sleeps_idle, one_item},
      {"park, woken meanwhile", last_yield, sleeps_idle, one_item, millisecond},
      {"wake", {Place::wakes, idle}, {Place::decodes, 0}, two_chunks},
  };
}
/// A worker that lingers for longer than a bundle may take loses what it has not begun.
const Path paths_of_late_workers[] = {
    {"bundle, taken back", {Place::runs, 35}, {Place::runs, 36}, bundles, 60'000'000},
};
/// A worker runs two items and retires.
const Path paths_of_short_lives[] = {
    {"retire", {Place::ends, 1}, {Place::leaves, 0}, two_chunks},
    {"start", {Place::forked, 0}, {Place::prepares, 0}, two_chunks, 0, 8},
    {"first claim", {Place::prepares, 0}, {Place::decodes, 2}, two_chunks},
};

constexpr int most_attempts = 4;

struct Tally {
  std::uint64_t deaths = 0;
  std::uint64_t missed = 0;  ///< breakpoints that a run did not come to; it was run again
  std::map<std::string, int> outcomes;
};

/// A path's instructions: the address of each, and how often it has been come to by then.
using Steps = std::vector<std::pair<std::uint64_t, std::uint32_t>>;

class Walk {
 public:
  /// With an earlier path, along which a first worker dies at random, the path is its successor's.
  Walk(const Path& path, ProcessPool& pool, const Path* earlier = nullptr,
       const Steps* earlier_steps = nullptr)
      : path_(path), pool_(pool), earlier_(earlier), earlier_steps_(earlier_steps) {}

  /// Records the path, then dies at each of its instructions.
  void go() {
    where = path_.name;
    record();
    for (std::size_t k = 0; k < steps_.size(); ++k) {
      const auto [target, visit] = steps_[k];
      if (path_.most_visits != 0 && visit > path_.most_visits) continue;
      where = path_.name + ", instruction " + std::to_string(k);
      strike(target, visit);
    }
  }

  [[nodiscard]] const Steps& steps() const { return steps_; }
  [[nodiscard]] const Tally& tally() const { return tally_; }

 private:
  static stepper::Order order_on(const Path& path, Mode mode, std::uint64_t target,
                                 std::uint32_t visit) {
    return {mode, path.begin, path.end, target, visit, path.lingers};
  }

  void give_order(Mode mode, std::uint64_t target, std::uint32_t visit) {
    if (path_.fresh) replace_worker(pool_);
    clear_marks();
    control.count = 0;
    if (earlier_ != nullptr) {
      const auto [first_target, first_visit] =
          (*earlier_steps_)[random_() % earlier_steps_->size()];
      control.orders[control.count++] =
          order_on(*earlier_, Mode::strike, first_target, first_visit);
    }
    control.orders[control.count++] = order_on(path_, mode, target, visit);
    control.current = control.there = control.through = control.steps = 0;
    control.struck[0] = control.struck[1] = 0;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    control.armed = 1;
    be_patient();
  }

  /// On a crowded machine the parent may come too late for the path, or for the earlier death, as
  /// in `strike`.
  void record() {
    for (int attempt = 0; attempt < most_attempts; ++attempt) {
      give_order(Mode::record, 0, 0);
      marks.nap_us = shortest_nap_us << attempt;
      (void)path_.call(pool_);
      (void)await(over);
      if (now(control.through) != 0 && deaths() + 1 == control.count) break;
    }
    const std::uint32_t count = now(control.steps);
    if (now(control.armed) != 0 || count == 0) violation("the path never began");
    if (now(control.through) == 0) violation("the path has no end");
    if (count > stepper::most_steps) violation("the path is too long");
    std::unordered_map<std::uint64_t, std::uint32_t> visits;
    for (std::uint32_t step = 0; step < count; ++step) {
      const std::uint64_t address = control.addresses[step];
      steps_.emplace_back(address, ++visits[address]);
    }
    settle(pool_);
  }

  /// What a run does depends on whether the parent sleeps: one that goes another way than the
  /// recorded one is run again, and gives the parent more time.
  void strike(std::uint64_t target, std::uint32_t visit) {
    for (int attempt = 0; attempt < most_attempts; ++attempt) {
      give_order(Mode::strike, target, visit);
      marks.nap_us = shortest_nap_us << attempt;
      const Blamed blamed = path_.call(pool_);
      (void)await([] { return over() || now(control.there) != 0; });
      settle(pool_);
      (void)await(over);
      tally_.deaths += deaths();
      if (deaths() == control.count) {
        judge(blamed);
        return;
      }
      ++tally_.missed;
    }
    // The doorbell's last instructions, for one, if the parent is never asleep in time.
    if (++unreached_ > steps_.size() / 8) violation("workers hardly ever go the recorded way");
    ++tally_.outcomes["never reached"];
  }

  /// Along a path items are begun and published one after the other: the blame may go on to nobody
  /// and then to the next item, and never back.
  void judge(Blamed blamed) {
    std::erase_if(blamed, [this](std::uint32_t item) { return item < path_.first_item; });
    const int rank = blamed.empty() ? last_rank_ | 1 : 2 * static_cast<int>(blamed.back());
    if (rank < last_rank_) violation("the blame went back");
    last_rank_ = rank;
    ++tally_.outcomes[blamed.empty() ? "nobody blamed"
                                     : "item " + std::to_string(blamed.back()) + " blamed"];
  }

  const Path& path_;
  ProcessPool& pool_;
  const Path* const earlier_;
  const Steps* const earlier_steps_;
  std::mt19937 random_{20240229};
  Steps steps_;
  int last_rank_ = -1;
  std::size_t unreached_ = 0;
  Tally tally_;
};

/// The paths that are asked for.
struct Choice {
  std::string name;  ///< in each name
  unsigned part = 0;
  unsigned parts = 1;
  unsigned asked = 0;

  [[nodiscard]] bool wants(const std::string& path) {
    return path.find(name) != std::string::npos && asked++ % parts == part;
  }
};

/// Walks the path, and says what came of it.
Steps walk(const Path& path, ProcessPool& pool, const Path* earlier = nullptr,
           const Steps* earlier_steps = nullptr) {
  const auto begin = Clock::now();
  Walk walk(path, pool, earlier, earlier_steps);
  walk.go();
  const std::chrono::duration<double> time = Clock::now() - begin;
  const Tally& tally = walk.tally();
  std::printf("%-22s %5zu instructions %5llu deaths %3llu missed %5.1f s:", path.name.c_str(),
              walk.steps().size(), static_cast<unsigned long long>(tally.deaths),
              static_cast<unsigned long long>(tally.missed), time.count());
  for (const auto& [outcome, count] : tally.outcomes) {
    std::printf("  %s %d", outcome.c_str(), count);
  }
  std::printf("\n");
  std::fflush(stdout);
  return walk.steps();
}

/// The successor of a worker that has just died dies as well.
void walk_second_deaths(ProcessPool& pool, Choice& choice) {
  const Path earlier{
      "first of two deaths", {Place::encodes, 1}, {Place::ends, 1}, two_longer_chunks};
  const Path later[] = {
      {"second: start", {Place::forked, 0}, {Place::prepares, 0}, two_longer_chunks, 0, 2, 2},
      {"second: first claim",
       {Place::prepares, 0},
       {Place::decodes, 3},
       two_longer_chunks,
       0,
       0,
       2},
      {"second: publish", {Place::encodes, 2}, {Place::ends, 2}, two_longer_chunks, 0, 0, 2},
  };
  Steps steps;
  for (const Path& path : later) {
    if (!choice.wants(path.name)) continue;
    if (steps.empty()) steps = walk(earlier, pool);
    walk(path, pool, &earlier, &steps);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Choice choice;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--must-fail") == 0) {
      must_fail = true;
    } else if (std::strcmp(argv[i], "--part") == 0 && i + 1 < argc) {
      if (std::sscanf(argv[++i], "%u/%u", &choice.part, &choice.parts) != 2) return 2;
      choice.part %= choice.parts;
    } else {
      choice.name = argv[i];
    }
  }
  std::signal(SIGALRM, on_alarm);
  marks.nap_us = shortest_nap_us;
  trace_system_calls();
  libpool::PoolOptions options{
      .initializer = prepare_worker,
      .task_slots = 4,
      .task_memory = 64 << 10,
      .result_ring = 4096,
      .bundle_time = std::chrono::seconds{1},
      .restart_intensity = std::size_t{1} << 30,
      .restart_backoff = std::chrono::nanoseconds{0},
  };
  {
    ProcessPool pool(1, options);
    be_patient();
    settle(pool);
    for (const Path& path : paths_of_lasting_workers(marks.yields)) {
      if (choice.wants(path.name)) walk(path, pool);
    }
    walk_second_deaths(pool, choice);
  }
#ifdef __OPTIMIZE__
  // Else so many instructions would take too long.
  {
    options.bundle_time = std::chrono::milliseconds{5};
    ProcessPool pool(1, options);
    settle(pool);
    for (const Path& path : paths_of_late_workers) {
      if (choice.wants(path.name)) walk(path, pool);
    }
  }
#endif
  options.max_tasks_per_child = 2;
  ProcessPool pool(1, options);
  for (const Path& path : paths_of_short_lives) {
    if (choice.wants(path.name)) walk(path, pool);
  }
  ::alarm(0);
  return must_fail ? 1 : 0;
}
#endif
