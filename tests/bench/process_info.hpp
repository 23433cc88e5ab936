/// What the kernel says about this process and those that it started: time, memory.
#pragma once

#include <dirent.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <fstream>
#include <type_traits>

#include "bench.hpp"

namespace bench {

/// The number after `field` in a file of /proc, in the file's unit; 0 without such a line.
inline double proc_field(const std::string& path, const std::string& field) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(field, 0) == 0) return std::strtod(line.c_str() + field.size(), nullptr);
  }
  return 0;
}

inline double private_kib() { return proc_field("/proc/self/status", "RssAnon:"); }
inline double shared_kib() { return proc_field("/proc/self/status", "RssShmem:"); }
inline double proportional_kib(pid_t pid) {
  return proc_field("/proc/" + std::to_string(pid) + "/smaps_rollup", "Pss:");
}

/// All processes below this one.
inline std::vector<pid_t> descendants() {
  std::vector<pid_t> found{::getpid()};
  for (std::size_t i = 0; i < found.size(); ++i) {
    const std::string tasks = "/proc/" + std::to_string(found[i]) + "/task/";
    DIR* folder = ::opendir(tasks.c_str());
    if (folder == nullptr) continue;
    while (const dirent* entry = ::readdir(folder)) {
      std::ifstream children(tasks + entry->d_name + "/children");
      for (pid_t pid = 0; children >> pid;) found.push_back(pid);
    }
    ::closedir(folder);
  }
  found.erase(found.begin());
  return found;
}

/// CPU seconds that this process and all below it have used.
inline double cpu_seconds() {
  timespec own{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
  double total = static_cast<double>(own.tv_sec) + 1e-9 * static_cast<double>(own.tv_nsec);
  for (const pid_t pid : descendants()) {
    clockid_t clock{};
    timespec used{};
    if (::clock_getcpuclockid(pid, &clock) == 0 && ::clock_gettime(clock, &used) == 0) {
      total += static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
    }
  }
  return total;
}

/// Share of one CPU, in per cent, that everything below uses while `f` runs.
template <class F>
double cpu_percent(F&& f) {
  const double before = cpu_seconds();
  const double spent = seconds(f);
  return 100 * (cpu_seconds() - before) / spent;
}

/// Lets this process, and those that it starts from now on, run on one CPU only.
inline void stay_on_one_cpu() {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<unsigned>(::sched_getcpu()), &one);
  ::sched_setaffinity(0, sizeof one, &one);
}

/// Makes this process as large as asked, in pages of which each is written.
inline std::vector<char> grow_by(std::size_t mebibytes) {
  return std::vector<char>(mebibytes << 20U, 1);
}

/// W10 for everybody: the CPU use of a pool with nothing to do and with tasks that sleep, and what
/// calls cost on one CPU and with more workers than CPUs. `make(workers)` gives a pool in a smart
/// pointer, `one(pool)` runs an empty task, `sleep_all(pool, n)` n tasks of 10 ms (or nullptr).
template <class Make, class One, class SleepAll>
void idle_and_crowded(const Arguments& arguments, Report& report, Make&& make, One&& one,
                      SleepAll&& sleep_all) {
  const std::size_t calls = arguments.count("calls", 2000);
  const auto median_call = [&](auto& pool) {
    std::vector<double> samples(calls);
    for (double& each : samples) each = 1e6 * seconds([&] { one(pool); });
    return median(samples);
  };
  {
    auto pool = make(arguments.workers());
    median_call(pool);
    const std::chrono::duration<double> pause(arguments.number("idle_s", 2));
    // A pool may spin for a moment after its last task; that moment is no part of being idle.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    report.add("idle_cpu_percent", cpu_percent([&] { std::this_thread::sleep_for(pause); }));
    if constexpr (!std::is_null_pointer_v<std::remove_cvref_t<SleepAll>>) {
      report.add("slow_tasks_cpu_percent", cpu_percent([&] {
                   sleep_all(pool, arguments.workers() * arguments.count("sleeps", 50));
                 }));
    }
  }
  {
    auto pool = make(16);
    report.add("crowded_p50_us", median_call(pool));
  }
  stay_on_one_cpu();
  auto pool = make(arguments.workers());
  report.add("one_cpu_p50_us", median_call(pool));
}

}  // namespace bench
