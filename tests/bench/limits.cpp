/// What the machine allows: bare rings between processes, and a serial loop.
#include "rings.hpp"

namespace {

using bench::Arguments;
using bench::Report;

/// W2 without anybody else: the loop that a program would write.
void serial_items(const Arguments& arguments, Report& report) {
  bench::report_increments(arguments.count("items", 1e7), "items_per_s", arguments, report,
                           [](const bench::Numbers& input, bench::Numbers& output) {
                             output.resize(input.size());
                             for (std::size_t i = 0; i < input.size(); ++i)
                               output[i] = bench::increment(input[i]);
                           });
}

std::map<std::string, bench::Workload> workloads(const std::string& contender) {
  if (contender == "rings") return bench::process_workloads<bench::Rings>();
  if (contender == "shared_rings") {
    return {{"W1", bench::process_empty_tasks<bench::SharedRings>},
            {"W3", bench::process_round_trips<bench::SharedRings>}};
  }
  if (contender == "serial") return {{"W2", serial_items}};
  throw std::invalid_argument("no such limit");
}

}  // namespace

int main(int count, char** values) {
  return bench::guarded([&] {
    const Arguments arguments(count, values);
    return bench::run(arguments, workloads(arguments.contender));
  });
}
