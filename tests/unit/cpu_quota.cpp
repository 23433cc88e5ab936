/// Facts about CPU quotas, on trees of files that look like /proc and /sys/fs/cgroup.
#include <libpool/detail/cpu_quota.hpp>

#include <doctest/doctest.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <string>

#include <libpool/detail/system.hpp>
#include <libpool/options.hpp>

namespace fs = std::filesystem;
using libpool::detail::cpu_quota;

namespace {

/// A folder that goes away with the test.
class Tree {
 public:
  Tree() {
    std::string name = (fs::temp_directory_path() / "libpool-quota-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    root_ = name;
  }
  ~Tree() { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& text) const {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }

  /// Mounts `group` of a hierarchy at `point`, both as the kernel writes it.
  void mount(const std::string& group, const std::string& point, const std::string& type) const {
    write("proc/mountinfo", "24 1 0:22 / / rw shared:1 - ext4 /dev/vda rw\n30 24 0:26 " + group +
                                " " + (root_ / point).string() + " rw,nosuid shared:4 - " + type +
                                "\n");
  }

  [[nodiscard]] auto quota() const { return cpu_quota(root_ / "proc"); }

 private:
  fs::path root_;
};

const std::string version_2 = "cgroup2 cgroup2 rw,nsdelegate";
const std::string version_1 = "cgroup cgroup rw,cpu,cpuacct";

}  // namespace

TEST_CASE("without control groups there is no quota") {
  const Tree tree;
  CHECK_FALSE(tree.quota());
  tree.mount("/", "cg", version_2);
  CHECK_FALSE(tree.quota());
  tree.write("proc/cgroup", "garbage\n0::\n");
  CHECK_FALSE(tree.quota());
}

TEST_CASE("version 2: the smallest quota of the group and those around it counts, rounded up") {
  const Tree tree;
  tree.mount("/", "cg", version_2);
  tree.write("proc/cgroup", "0::/outer/inner\n");
  tree.write("cg/outer/inner/cpu.max", "max 100000\n");
  CHECK_FALSE(tree.quota());
  tree.write("cg/outer/cpu.max", "350000 100000\n");
  CHECK(tree.quota() == 4);
  tree.write("cg/outer/inner/cpu.max", "150000 100000\n");
  CHECK(tree.quota() == 2);
  tree.write("cg/outer/cpu.max", "1000 100000\n");
  CHECK(tree.quota() == 1);
}

TEST_CASE("version 1: the quota of the cpu controller counts") {
  const Tree tree;
  tree.mount("/", "cg", version_1);
  tree.write("proc/cgroup", "5:memory:/other\n4:cpu,cpuacct:/group\n");
  tree.write("cg/group/cpu.cfs_quota_us", "-1\n");
  tree.write("cg/group/cpu.cfs_period_us", "50000\n");
  CHECK_FALSE(tree.quota());
  tree.write("cg/group/cpu.cfs_quota_us", "100000\n");
  CHECK(tree.quota() == 2);
}

TEST_CASE("in a container, the mounted group is the process's own") {
  const Tree tree;
  tree.write("proc/cgroup", "4:cpu:/docker/abc\n");
  tree.write("cg/cpu.cfs_quota_us", "300000\n");
  tree.write("cg/cpu.cfs_period_us", "100000\n");
  for (const std::string root : {"/docker/abc", "/elsewhere", "/"}) {
    tree.mount(root, "cg", version_1);
    CHECK(tree.quota() == 3);
  }
}

TEST_CASE("numbers that make no sense are no quota") {
  const Tree tree;
  tree.mount("/", "cg", version_2);
  tree.write("proc/cgroup", "0::/\n");
  for (const char* text : {"", "0 0", "100000", "100000 0", "-5 100000", "x y"}) {
    tree.write("cg/cpu.max", text);
    CHECK_FALSE(tree.quota());
  }
  tree.write("cg/cpu.max", "1e300 1");
  CHECK(tree.quota() == 1'000'000);
}

TEST_CASE("available_parallelism follows the affinity mask and is at least 1") {
  CHECK(libpool::available_parallelism() >= 1);
  cpu_set_t before;
  REQUIRE(::sched_getaffinity(0, sizeof before, &before) == 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int cpu = 0; CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
  CHECK(libpool::available_parallelism() == 1);
  REQUIRE(::sched_setaffinity(0, sizeof before, &before) == 0);
}

TEST_CASE(
    "available_parallelism asks again when the kernel's mask is larger, and survives a refusal") {
  using libpool::detail::system_calls;
  const auto real = system_calls.sched_getaffinity;
  system_calls.sched_getaffinity = [](pid_t, std::size_t bytes, cpu_set_t* cpus) {
    if (bytes < 4 * sizeof(cpu_set_t)) {
      errno = EINVAL;
      return -1;
    }
    CPU_ZERO_S(bytes, cpus);
    CPU_SET_S(3000, bytes, cpus);
    return 0;
  };
  CHECK(libpool::available_parallelism() == 1);
  system_calls.sched_getaffinity = [](pid_t, std::size_t, cpu_set_t*) {
    errno = EPERM;
    return -1;
  };
  CHECK(libpool::available_parallelism() == 1);
  system_calls.sched_getaffinity = real;
}
