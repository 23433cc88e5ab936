/// libpool's two pools at every workload: `bench_libpool process|thread W1` and so on.
#include "libpool_calls.hpp"

int main(int count, char** values) {
  return bench::guarded([&] {
    const bench::Arguments arguments(count, values);
    if (arguments.contender == "process") {
      return bench::run(arguments, bench::libpool_workloads<libpool::ProcessPool>());
    }
    if (arguments.contender == "thread") {
      return bench::run(arguments, bench::libpool_workloads<libpool::ThreadPool>());
    }
    throw std::invalid_argument("the contender is process or thread");
  });
}
