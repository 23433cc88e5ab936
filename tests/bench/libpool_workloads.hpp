/// The workloads of libpool, by group; each has its own file, because they take long to compile.
#pragma once

#include "bench.hpp"

namespace bench {

using Workloads = std::map<std::string, Workload>;

/// W1, W2, W3: what a call costs.
Workloads libpool_calls(bool processes);
/// W4, and W9 for payloads.
Workloads libpool_payloads(bool processes);
/// W5.
Workloads libpool_compute(bool processes);
/// W6, W10: making a pool, and having one.
Workloads libpool_life(bool processes);
/// W7; processes only.
Workloads libpool_deaths();
/// W8, and W9 for items and workers.
Workloads libpool_growth(bool processes);

}  // namespace bench
