/// W5 with libpool: how much of the CPUs goes into the tasks.
#include <libpool/libpool.hpp>

#include "compute.hpp"
#include "libpool_workloads.hpp"

namespace bench {
namespace {

/// `f` over all inputs in the pool.
template <class Pool>
auto loop_in(Pool& pool) {
  return [&pool](auto f, const auto& inputs, bool one_a_chunk) {
    return one_a_chunk ? pool.map(f, inputs, {.chunksize = 1}) : pool.map(f, inputs);
  };
}

template <class Pool>
void uneven(const Arguments& arguments, Report& report) {
  Pool pool(arguments.workers());
  uneven_tasks(arguments, report, loop_in(pool));
}

template <class Pool>
void short_ones(const Arguments& arguments, Report& report) {
  Pool pool(arguments.workers());
  short_tasks(arguments, report, loop_in(pool));
}

template <class Pool>
Workloads all() {
  return {{"W5", uneven<Pool>}, {"W5s", short_ones<Pool>}};
}

}  // namespace

Workloads libpool_compute(bool processes) {
  return processes ? all<libpool::ProcessPool>() : all<libpool::ThreadPool>();
}

}  // namespace bench
