/// W4 and W9 with libpool: what bytes cost.
#include <libpool/libpool.hpp>
#include <span>

#include "libpool_workloads.hpp"

namespace bench {
namespace {

Numbers increment_all(Numbers buffer) {
  for (std::int64_t& each : buffer) each = increment(each);
  return buffer;
}

/// In through a view, out as what the caller receives.
libpool::Buffer<std::int64_t> increment_view(std::span<const std::int64_t> buffer) {
  Numbers result(buffer.begin(), buffer.end());
  for (std::int64_t& each : result) each = increment(each);
  return result;
}

/// By value, const reference and view the same sum: what differs is who copies.
std::int64_t sum_of(const Numbers& buffer) {
  return std::accumulate(buffer.begin(), buffer.end(), std::int64_t{0});
}
std::int64_t sum_of_view(std::span<const std::int64_t> buffer) {
  return std::accumulate(buffer.begin(), buffer.end(), std::int64_t{0});
}

template <class Pool>
void payloads(const Arguments& arguments, Report& report) {
  Pool pool(arguments.workers());
  const std::size_t bytes = arguments.count("bytes", 1 << 20);
  const std::vector<Numbers> input(arguments.count("buffers", 64), numbers(bytes / 8));
  const double gibibytes = static_cast<double>(input.size() * bytes) / (1 << 30);
  const std::int64_t expected = sum_of(input[0]);

  std::vector<Numbers> output;
  const double both_ways = median_seconds(
      arguments.budget(), [&] { output = pool.map(increment_all, input); },
      [&] {
        output = std::vector<Numbers>();
        return_freed_memory();
      });
  for (const Numbers& each : output) check(incremented(each), "in and out");
  report.add("in_out_gib_per_s", gibibytes / both_ways);
  output = std::vector<Numbers>();

  std::vector<libpool::Buffer<std::int64_t>> views;
  const double by_view = median_seconds(
      arguments.budget(), [&] { views = pool.map(increment_view, input); }, [&] { views.clear(); });
  for (const auto& each : views) check(incremented(Numbers(each.begin(), each.end())), "views");
  report.add("in_out_view_gib_per_s", gibibytes / by_view);
  views.clear();

  const auto one_way = [&](auto f) {
    Numbers sums;
    const double spent = median_seconds(arguments.budget(), [&] { sums = pool.map(f, input); });
    check(sums == Numbers(input.size(), expected), "in");
    return gibibytes / spent;
  };
  report.add("in_gib_per_s", one_way(sum_of));
  report.add("in_view_gib_per_s", one_way(sum_of_view));
}

/// W9: there and back, from a few bytes to many.
template <class Pool>
void payload_sizes(const Arguments& arguments, Report& report) {
  Pool pool(arguments.workers());
  const std::size_t total = arguments.count("total", 64 << 20);
  double last = 0;
  double worst_step = 0;
  for (std::size_t bytes = 8; bytes <= arguments.count("largest", 64 << 20); bytes *= 8) {
    const std::size_t count = std::clamp<std::size_t>(total / bytes, 1, 100'000);
    const std::vector<Numbers> input(count, numbers(bytes / 8));
    const double spent = median_seconds(arguments.budget() / 3, [&] {
      const auto output = pool.map(increment_all, input);
      check(incremented(output.back()), "payload");
    });
    const double each = 1e6 * spent / static_cast<double>(count);
    report.add("us_an_item_of_" + std::to_string(bytes), each);
    if (last != 0) worst_step = std::max(worst_step, each / last / 8);
    last = each;
  }
  // How much dearer a byte becomes, at worst, where payloads grow to eight times their size.
  report.add("worst_step", worst_step);
}

template <class Pool>
Workloads all() {
  return {{"W4", payloads<Pool>}, {"W9p", payload_sizes<Pool>}};
}

}  // namespace

Workloads libpool_payloads(bool processes) {
  return processes ? all<libpool::ProcessPool>() : all<libpool::ThreadPool>();
}

}  // namespace bench
