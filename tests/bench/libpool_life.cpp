/// W6 and W10 with libpool: making a pool, and having one that has little to do.
#include <libpool/libpool.hpp>

#include "libpool_workloads.hpp"
#include "process_info.hpp"

namespace bench {
namespace {

/// Median memory of the workers of a pool that has been used and is idle.
double idle_worker_kib(libpool::ProcessPool& pool) {
  pool.map(increment, numbers(100 * pool.size()), {.chunksize = 1});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  std::vector<double> each;
  for (const auto& worker : pool.stats().workers) each.push_back(proportional_kib(worker.pid));
  return median(each);
}

/// With prefork=1 and parent_mib=1024: the helper is forked before the parent grows.
template <class Pool>
void make_and_destroy(const Arguments& arguments, Report& report) {
  constexpr bool processes = std::is_same_v<Pool, libpool::ProcessPool>;
  if (arguments.number("prefork", 0) != 0) libpool::prefork();
  const std::vector<char> ballast = grow_by(arguments.count("parent_mib", 0));
  keep(ballast.data());
  const std::size_t workers = arguments.workers();
  report.add("ms", 1e3 * median_seconds(arguments.budget(), [&] { Pool pool(workers); }));
  report.add("with_a_task_ms", 1e3 * median_seconds(arguments.budget(), [&] {
                                 Pool pool(workers);
                                 check(pool.apply(increment, 1) == 2, "first task");
                               }));
  if constexpr (processes) {
    Pool pool(workers);
    report.add("worker_kib", idle_worker_kib(pool));
  }
}

std::int64_t sleep_ten_milliseconds(std::int64_t x) {
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return x;
}

template <class Pool>
void idle(const Arguments& arguments, Report& report) {
  idle_and_crowded(
      arguments, report, [](std::size_t workers) { return std::make_unique<Pool>(workers); },
      [](auto& pool) { pool->apply(increment, 1); },
      [](auto& pool, std::size_t count) { pool->map(sleep_ten_milliseconds, numbers(count)); });
}

template <class Pool>
Workloads all() {
  return {{"W6", make_and_destroy<Pool>}, {"W10", idle<Pool>}};
}

}  // namespace

Workloads libpool_life(bool processes) {
  return processes ? all<libpool::ProcessPool>() : all<libpool::ThreadPool>();
}

}  // namespace bench
