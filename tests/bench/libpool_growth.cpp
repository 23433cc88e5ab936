/// W8 and W9 with libpool: what becomes of the cost when workers and items become many.
#include <libpool/libpool.hpp>
#include <ranges>

#include "libpool_workloads.hpp"
#include "process_info.hpp"

namespace bench {
namespace {

/// How much the parent's memory grows while it takes results; looked at now and then.
class Growth {
 public:
  void look() {
    private_ = std::max(private_, private_kib() - private_before_);
    shared_ = std::max(shared_, shared_kib() - shared_before_);
  }
  void add_to(Report& report, const std::string& name) const {
    report.add(name + "_kib", private_);
    report.add(name + "_shared_kib", shared_);
  }

 private:
  double private_before_ = private_kib();
  double shared_before_ = shared_kib();
  double private_ = 0;
  double shared_ = 0;
};

/// Takes results until the range or the time is at its end, and says how many; sleeps for a
/// millisecond after every `pause_every`-th, if that is not 0.
template <class Range>
std::size_t consume(Range&& results, Growth& growth, std::size_t pause_every, double limit) {
  const std::size_t step = pause_every != 0 ? pause_every : 1 << 20;
  std::size_t taken = 0;
  std::size_t stop = step;
  const auto begin = Clock::now();
  while (const auto result = results.next()) {
    keep(*result);
    if (++taken != stop) continue;
    stop += step;
    growth.look();
    if (pause_every == 0) continue;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (seconds_between(begin, Clock::now()) > limit) break;
  }
  growth.look();
  return taken;
}

template <class Pool>
void lazy_items(const Arguments& arguments, Report& report) {
  const auto items = static_cast<std::int64_t>(arguments.count("items", 1e8));
  const std::size_t chunksize = arguments.count("chunksize", 1000);
  const double for_ever = 1e9;
  Pool pool(arguments.workers());
  {
    const Numbers input = numbers(arguments.count("map_items", 1e7));
    const double spent = median_seconds(arguments.budget(), [&] {
      keep(pool.map(increment, input, {.chunksize = chunksize}).data());
    });
    report.add("map_per_s", static_cast<double>(input.size()) / spent);
  }
  const auto lazily = [&](std::int64_t count) {
    return pool.imap(increment, std::views::iota(std::int64_t{0}, count), {.chunksize = chunksize});
  };
  Growth warm_up;
  consume(lazily(items / 100), warm_up, 0, for_ever);

  Growth fast;
  const double spent = seconds([&] {
    check(consume(lazily(items), fast, 0, for_ever) == static_cast<std::size_t>(items), "W8");
  });
  report.add("imap_per_s", static_cast<double>(items) / spent);
  fast.add_to(report, "fast_growth");

  Growth slow;
  consume(lazily(items), slow, 100, arguments.number("slow_s", 3));
  slow.add_to(report, "slow_growth");
  pool.terminate();
}

std::int64_t sleep_a_little(std::int64_t x) {
  std::this_thread::sleep_for(std::chrono::microseconds(100));
  return x;
}

/// W9: tasks that sleep for 100 µs, so that many workers do not need many CPUs.
template <class Pool>
void many_workers(const Arguments& arguments, Report& report) {
  for (const std::size_t workers : {1, 2, 4, 16, 64, 256}) {
    Pool pool(workers);
    const Numbers input = numbers(arguments.count("tasks_a_worker", 200) * workers);
    pool.map(increment, numbers(100 * workers), {.chunksize = 1});
    const double spent = median_seconds(arguments.budget() / 2,
                                        [&] { pool.map(sleep_a_little, input, {.chunksize = 1}); });
    report.add("per_s_with_" + std::to_string(workers), static_cast<double>(input.size()) / spent);
  }
}

/// W9: trivial items, chunk size 1 while they are few enough, and automatic. Growth is the cost of
/// an item among most against that among ten thousand.
template <class Pool>
void many_items(const Arguments& arguments, Report& report) {
  constexpr std::size_t reference = 10'000;
  Pool pool(arguments.workers());
  const auto measure = [&](const std::string& name, const std::string& growth, double most,
                           libpool::MapOptions options) {
    double few = 0;
    double last = 0;
    for (std::size_t items = 1000; items <= static_cast<std::size_t>(most); items *= 10) {
      const Numbers input = numbers(items);
      const double spent = median_seconds(
          arguments.budget() / 3, [&] { keep(pool.map(increment, input, options).data()); });
      last = 1e9 * spent / static_cast<double>(items);
      if (items == reference) few = last;
      report.add(name + std::to_string(items), last);
    }
    if (few != 0) report.add(growth, last / few);
  };
  measure("ns_each_alone_of_", "growth_alone", arguments.number("single_items", 1e7),
          {.chunksize = 1});
  measure("ns_each_of_", "growth", arguments.number("items", 1e8), {});
}

template <class Pool>
Workloads all() {
  return {{"W8", lazy_items<Pool>}, {"W9w", many_workers<Pool>}, {"W9i", many_items<Pool>}};
}

}  // namespace

Workloads libpool_growth(bool processes) {
  return processes ? all<libpool::ProcessPool>() : all<libpool::ThreadPool>();
}

}  // namespace bench
