/// Reads what the test's own process holds from /proc/self.
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <iterator>
#include <vector>

#include <tests/support/eventually.hpp>
#include <tests/support/footprint.hpp>

namespace libpool::testing {
namespace {

/// Calls `use(name)` for each entry; the directory's own descriptor is named to `use` too.
void for_each_entry(const std::string& path, const std::function<void(const std::string&)>& use) {
  DIR* directory = opendir(path.c_str());
  if (directory == nullptr) return;
  const std::string own = std::to_string(dirfd(directory));
  while (const dirent* entry = readdir(directory)) {
    const std::string name = entry->d_name;
    if (name != "." && name != ".." && (path != "/proc/self/fd" || name != own)) use(name);
  }
  closedir(directory);
}

std::string name_of_task(const std::string& directory) {
  std::string name;
  std::getline(std::ifstream(directory + "/comm"), name);
  return " (" + name + ")";
}

void read_tasks(Footprint& footprint) {
  for_each_entry("/proc/self/task", [&](const std::string& thread) {
    const std::string directory = "/proc/self/task/" + thread;
    footprint.threads.insert("thread " + thread + name_of_task(directory));
    std::ifstream children(directory + "/children");
    for (std::string pid; children >> pid;) {
      footprint.children.insert("child " + pid + name_of_task("/proc/" + pid));
    }
  });
}

void read_descriptors(Footprint& footprint) {
  for_each_entry("/proc/self/fd", [&](const std::string& number) {
    char target[256] = {};
    const std::string link = "/proc/self/fd/" + number;
    if (readlink(link.c_str(), target, sizeof target - 1) < 0) return;
    footprint.descriptors.insert("descriptor " + number + " -> " + target);
  });
}

void read_mappings(Footprint& footprint) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const std::size_t at = line.find("/memfd:");
    if (at != std::string::npos) footprint.shared.insert("mapping " + line.substr(at));
  }
}

void read_dev_shm(Footprint& footprint) {
  for_each_entry("/dev/shm", [&](const std::string& name) {
    struct stat status{};
    const std::string path = "/dev/shm/" + name;
    if (lstat(path.c_str(), &status) == 0 && status.st_uid == geteuid()) {
      footprint.dev_shm.insert(path);
    }
  });
}

template <class Set>
void add_difference(const Set& now, const Set& before, std::string& out) {
  std::vector<std::string> more;
  std::set_difference(now.begin(), now.end(), before.begin(), before.end(),
                      std::back_inserter(more));
  for (const std::string& name : more) out += (out.empty() ? "" : ", ") + name;
}

}  // namespace

Footprint Footprint::now() {
  Footprint footprint;
  read_tasks(footprint);
  read_descriptors(footprint);
  read_mappings(footprint);
  read_dev_shm(footprint);
  return footprint;
}

std::string Footprint::growth() const {
  const Footprint later = now();
  std::string names;
  add_difference(later.children, children, names);
  add_difference(later.threads, threads, names);
  add_difference(later.descriptors, descriptors, names);
  add_difference(later.shared, shared, names);
  add_difference(later.dev_shm, dev_shm, names);
  return names;
}

std::string settled_growth(const Footprint& before) {
  std::string names;
  if (eventually([&] { return (names = before.growth()).empty(); }, std::chrono::seconds(5))) {
    return {};
  }
  return names;
}

}  // namespace libpool::testing
