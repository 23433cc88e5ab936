/// Finds the process's control groups and reads their quotas, up to the root of what is mounted.
///
/// Runs in the parent. What cannot be read or parsed is no limit.
#include <libpool/detail/cpu_quota.hpp>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace libpool::detail {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

bool names_cpu(const std::string& controllers) {
  const auto names = split(controllers, ',');
  return std::find(names.begin(), names.end(), "cpu") != names.end();
}

/// A hierarchy of control groups as far as this process can see it.
struct Hierarchy {
  fs::path mount_root;   ///< the group that is mounted
  fs::path mount_point;  ///< where
  bool unified = false;  ///< version 2
};

/// From the lines of /proc/self/mountinfo: `id parent device root point options [tags] - type
/// source options`.
std::vector<Hierarchy> hierarchies(const fs::path& process) {
  std::vector<Hierarchy> found;
  std::ifstream mounts(process / "mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const auto front = split(line.substr(0, dash), ' ');
    const auto back = split(line.substr(dash + 3), ' ');
    if (front.size() < 5 || back.size() < 3) continue;
    const bool unified = back[0] == "cgroup2";
    if (unified || (back[0] == "cgroup" && names_cpu(back[2]))) {
      found.push_back({front[3], front[4], unified});
    }
  }
  return found;
}

/// The process's group in the hierarchy, from the lines of /proc/self/cgroup: `0::/path` or
/// `n:controllers:/path`.
std::optional<fs::path> group_of(const fs::path& process, bool unified) {
  std::ifstream groups(process / "cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (unified ? controllers.empty() : names_cpu(controllers)) return line.substr(second + 1);
  }
  return std::nullopt;
}

/// The quota that this one group sets, in CPUs.
std::optional<double> quota_of(const fs::path& group, bool unified) {
  double quota = 0;  // microseconds of CPU time in each period; "max" or -1: none
  double period = 0;
  if (unified) {
    std::ifstream(group / "cpu.max") >> quota >> period;
  } else {
    std::ifstream(group / "cpu.cfs_quota_us") >> quota;
    std::ifstream(group / "cpu.cfs_period_us") >> period;
  }
  if (!(quota > 0) || !(period > 0)) return std::nullopt;
  return quota / period;
}

/// Where the group lies below the mount point. In a container, the path may be one that only the
/// outside sees; then what is mounted is the process's own group.
fs::path below_mount(const fs::path& group, const fs::path& mount_root) {
  const fs::path relative = group.lexically_relative(mount_root);
  if (relative.empty() || *relative.begin() == "..") return {};
  return relative == "." ? fs::path{} : relative;
}

}  // namespace

std::optional<std::size_t> cpu_quota(const fs::path& process) {
  std::optional<double> smallest;
  for (const Hierarchy& hierarchy : hierarchies(process)) {
    const auto group = group_of(process, hierarchy.unified);
    if (!group) continue;
    fs::path below = below_mount(*group, hierarchy.mount_root);
    for (;;) {
      const auto quota = quota_of(hierarchy.mount_point / below, hierarchy.unified);
      if (quota && (!smallest || *quota < *smallest)) smallest = quota;
      if (below.empty()) break;
      below = below.parent_path();
    }
  }
  if (!smallest) return std::nullopt;
  constexpr double plenty = 1'000'000;  // keeps the conversion defined
  const double cpus = std::min(*smallest, plenty);
  const auto whole = static_cast<std::size_t>(cpus);
  return whole + (static_cast<double>(whole) < cpus ? 1 : 0);
}

}  // namespace libpool::detail
