/// W1 to W3 with libpool: what a call costs.
#include <libpool/libpool.hpp>
#include <ranges>

#include "libpool_workloads.hpp"

namespace bench {
namespace {

/// A function object, so that the compiler can inline it as it does in the peers' loops.
constexpr auto successor = [](std::int64_t x) { return increment(x); };

template <class Pool>
void empty_tasks(const Arguments& arguments, Report& report) {
  Pool pool(arguments.workers());
  const std::size_t tasks = arguments.count("tasks", 1e6);
  report_increments(tasks, "map_per_s", arguments, report,
                    [&](const Numbers& input, Numbers& output) {
                      output = pool.map(successor, input, {.chunksize = 1});
                    });
  // Results come in any order: what is checked is their sum, by way of one vector.
  report_increments(
      tasks, "imap_unordered_per_s", arguments, report, [&](const Numbers& input, Numbers& output) {
        output = Numbers(input.size());
        for (const std::int64_t result : pool.imap_unordered(successor, std::views::all(input))) {
          output[static_cast<std::size_t>(result) - 1] = result;
        }
      });
  report_increments(arguments.count("applies", static_cast<double>(tasks)), "apply_async_per_s",
                    arguments, report, [&](const Numbers& input, Numbers& output) {
                      std::vector<libpool::AsyncResult<std::int64_t>> pending;
                      pending.reserve(input.size());
                      for (const std::int64_t x : input) {
                        pending.push_back(pool.apply_async(successor, x));
                      }
                      output.reserve(input.size());
                      for (const auto& each : pending) output.push_back(each.get());
                    });
}

template <class Pool>
void trivial_items(const Arguments& arguments, Report& report) {
  Pool pool(arguments.workers());
  report_increments(
      arguments.count("items", 1e7), "items_per_s", arguments, report,
      [&](const Numbers& input, Numbers& output) { output = pool.map(successor, input); });
}

template <class Pool>
void apply_round_trips(const Arguments& arguments, Report& report) {
  Pool pool(arguments.workers());
  std::int64_t result = 0;
  round_trips(arguments, report, [&] { result = pool.apply(successor, result); });
  check(result > 0, "W3");
}

template <class Pool>
Workloads calls() {
  return {{"W1", empty_tasks<Pool>}, {"W2", trivial_items<Pool>}, {"W3", apply_round_trips<Pool>}};
}

}  // namespace

Workloads libpool_calls(bool processes) {
  return processes ? calls<libpool::ProcessPool>() : calls<libpool::ThreadPool>();
}

}  // namespace bench
