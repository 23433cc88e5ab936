/// How many CPUs this process may use.
///
/// Runs in the calling process; asks the kernel each time, because both answers may change.
#include <libpool/options.hpp>

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <vector>

#include <libpool/detail/cpu_quota.hpp>
#include <libpool/detail/system.hpp>

namespace libpool {
namespace {

/// CPUs in the affinity mask; 1 if it cannot be read. The kernel refuses a mask smaller than its
/// own.
std::size_t affinity() {
  constexpr std::size_t most_sets = 1024;  // of 1024 CPUs each
  for (std::size_t sets = 1; sets <= most_sets; sets *= 2) {
    std::vector<cpu_set_t> cpus(sets);
    const std::size_t bytes = sets * sizeof(cpu_set_t);
    if (detail::system_calls.sched_getaffinity(0, bytes, cpus.data()) == 0) {
      return static_cast<std::size_t>(CPU_COUNT_S(bytes, cpus.data()));
    }
    if (errno != EINVAL) break;
  }
  return 1;
}

}  // namespace

std::size_t available_parallelism() {
  const std::size_t cpus = std::max<std::size_t>(affinity(), 1);
  return std::clamp<std::size_t>(detail::cpu_quota("/proc/self").value_or(cpus), 1, cpus);
}

}  // namespace libpool
