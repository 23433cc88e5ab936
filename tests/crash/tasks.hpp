/// What the tests of faults and of unusual hosts let pools do, and with which options.
///
/// The functions run in workers; the options keep everything small, so that little work reaches
/// every corner.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <numeric>
#include <vector>

#include <libpool/options.hpp>

namespace crash {

inline std::vector<int> numbers(int n) {
  std::vector<int> values(static_cast<std::size_t>(n));
  std::iota(values.begin(), values.end(), 0);
  return values;
}
inline int twice(int item) { return 2 * item; }
inline int sleep_for_ever(int) {
  for (;;) ::pause();
}

inline libpool::PoolOptions small_options() {
  return {.task_slots = 8,
          .task_memory = std::size_t{256} << 10,
          .result_ring = 4096,
          .restart_backoff = std::chrono::milliseconds{1}};
}

}  // namespace crash
