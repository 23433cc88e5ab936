/// The CPU time that control groups grant a process, as a number of CPUs.
///
/// Runs in the parent; reads files only, so no death leaves anything.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>

namespace libpool::detail {

/// The smallest quota of a process's control group and the groups around it, of either version of
/// control groups, in CPUs rounded up: with half a CPU to spare, one more thread still makes use of
/// it. Unset if there is none, or no way to tell. `process` is its folder in /proc.
[[nodiscard]] std::optional<std::size_t> cpu_quota(const std::filesystem::path& process);

}  // namespace libpool::detail
