/// libpool's two pools at every workload: `bench_libpool process|thread W1` and so on.
#include "libpool_workloads.hpp"

int main(int count, char** values) {
  return bench::guarded([&] {
    const bench::Arguments arguments(count, values);
    const bool processes = arguments.contender == "process";
    if (!processes && arguments.contender != "thread") {
      throw std::invalid_argument("the contender is process or thread");
    }
    bench::Workloads all = bench::libpool_calls(processes);
    all.merge(bench::libpool_payloads(processes));
    all.merge(bench::libpool_compute(processes));
    all.merge(bench::libpool_life(processes));
    all.merge(bench::libpool_growth(processes));
    if (processes) all.merge(bench::libpool_deaths());
    return bench::run(arguments, all);
  });
}
