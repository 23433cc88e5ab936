/// What the programs of the benchmark share: arguments, clock, medians, and the line that each
/// prints.
///
/// Every program measures one contender at one workload in a process of its own, and prints one
/// line of JSON with what it measured. The driver, `run`, interleaves and repeats them.
#pragma once

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace bench {

using Clock = std::chrono::steady_clock;

/// Exit status for "this machine cannot run me"; the driver then reports the contender as absent.
inline constexpr int absent = 69;

inline double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

template <class F>
double seconds(F&& f) {
  const auto begin = Clock::now();
  f();
  return seconds_between(begin, Clock::now());
}

/// The value below which the fraction `q` of the samples lies.
inline double percentile(std::vector<double> samples, double q) {
  if (samples.empty()) throw std::logic_error("no samples");
  const auto rank = static_cast<std::ptrdiff_t>(q * static_cast<double>(samples.size() - 1) + 0.5);
  std::nth_element(samples.begin(), samples.begin() + rank, samples.end());
  return samples[static_cast<std::size_t>(rank)];
}

inline double median(std::vector<double> samples) { return percentile(std::move(samples), 0.5); }

/// Median seconds of `f`, which runs once to warm up and then until the budget is used, each time
/// after `prepare`, which is not counted. A run that uses up the budget at once is the only one.
template <class F, class Prepare>
double median_seconds(double budget, F&& f, Prepare&& prepare) {
  prepare();
  double spent = seconds(f);
  if (spent >= budget) return spent;
  std::vector<double> samples;
  for (spent = 0; spent < budget && samples.size() < 1000; spent += samples.back()) {
    prepare();
    samples.push_back(seconds(f));
  }
  return median(std::move(samples));
}

template <class F>
double median_seconds(double budget, F&& f) {
  return median_seconds(budget, std::forward<F>(f), [] {});
}

/// Keeps the compiler from removing what computes `value`.
template <class T>
void keep(const T& value) {
  asm volatile("" : : "g"(&value) : "memory");
}

/// A wrong result makes every figure worthless.
inline void check(bool right, const char* what) {
  if (!right) throw std::runtime_error(std::string("wrong result: ") + what);
}

/// The metrics of one invocation, printed as one line of JSON.
class Report {
 public:
  void add(const std::string& name, double value) { metrics_.emplace_back(name, value); }

  void print() const {
    const char* separator = "{";
    for (const auto& [name, value] : metrics_) {
      std::printf("%s\"%s\": %.6g", separator, name.c_str(), value);
      separator = ", ";
    }
    std::puts("}");
  }

 private:
  std::vector<std::pair<std::string, double>> metrics_;
};

/// `program CONTENDER WORKLOAD [name=value]...`
class Arguments {
 public:
  Arguments(int count, char** values) {
    if (count < 3) throw std::invalid_argument("usage: program CONTENDER WORKLOAD [name=value]...");
    contender = values[1];
    workload = values[2];
    for (int i = 3; i < count; ++i) {
      const std::string_view argument = values[i];
      const auto equals = argument.find('=');
      if (equals == argument.npos) throw std::invalid_argument("not name=value");
      numbers_[std::string(argument.substr(0, equals))] =
          std::strtod(values[i] + equals + 1, nullptr);
    }
  }

  [[nodiscard]] double number(const std::string& name, double otherwise) const {
    const auto found = numbers_.find(name);
    return found == numbers_.end() ? otherwise : found->second;
  }
  [[nodiscard]] std::size_t count(const std::string& name, double otherwise) const {
    return static_cast<std::size_t>(number(name, otherwise));
  }
  [[nodiscard]] std::size_t workers() const { return count("workers", 2); }
  [[nodiscard]] double budget() const { return number("budget", 0.3); }

  std::string contender;
  std::string workload;

 private:
  std::map<std::string, double> numbers_;
};

using Workload = std::function<void(const Arguments&, Report&)>;

/// Runs what the arguments name and prints its report.
inline int run(const Arguments& arguments, const std::map<std::string, Workload>& workloads) {
  const auto found = workloads.find(arguments.workload);
  if (found == workloads.end()) {
    std::fprintf(stderr, "%s does not offer %s\n", arguments.contender.c_str(),
                 arguments.workload.c_str());
    return 64;
  }
  Report report;
  found->second(arguments, report);
  report.print();
  return 0;
}

/// `main` of every program: what it throws becomes a message and a status.
template <class F>
int guarded(F&& body) {
  try {
    return body();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

inline std::int64_t increment(std::int64_t x) { return x + 1; }

using Numbers = std::vector<std::int64_t>;

/// 0, 1, 2 ...
inline Numbers numbers(std::size_t size) {
  Numbers result(size);
  std::iota(result.begin(), result.end(), std::int64_t{0});
  return result;
}

/// Whether each element is its index plus one.
inline bool incremented(const Numbers& results) {
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (results[i] != static_cast<std::int64_t>(i) + 1) return false;
  }
  return true;
}

/// Makes malloc keep freed memory, so that a fresh vector lies in pages that are present.
inline void keep_freed_memory() {
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
}

/// Gives the kernel back what malloc has kept, so that a fresh vector lies in fresh pages. By its
/// own rules it keeps megabytes, and how many depends on what was freed before.
inline void return_freed_memory() { ::malloc_trim(0); }

/// W1 and W2 for everybody: how many of `size` numbers a second `f(input, output)` increments into
/// a fresh vector, whose pages are part of what a caller pays.
template <class F>
void report_increments(std::size_t size, const std::string& name, const Arguments& arguments,
                       Report& report, F&& f) {
  const bool warm = arguments.number("warm", 0) != 0;
  if (warm) keep_freed_memory();
  const Numbers input = numbers(size);
  Numbers output;
  const auto prepare = [&] {
    output = Numbers();
    if (!warm) return_freed_memory();
  };
  const double spent = median_seconds(arguments.budget(), [&] { f(input, output); }, prepare);
  check(output.size() == size && incremented(output), name.c_str());
  report.add(name, static_cast<double>(size) / spent);
}

/// W3 for everybody: round trips of `one_call`, back to back and after a millisecond of idleness.
template <class F>
void round_trips(const Arguments& arguments, Report& report, F&& one_call) {
  constexpr double microseconds = 1e6;
  const auto sample = [&] { return microseconds * seconds(one_call); };
  for (std::size_t i = 0; i < 200; ++i) one_call();
  std::vector<double> samples(arguments.count("calls", 20'000));
  for (double& each : samples) each = sample();
  report.add("p50_us", median(samples));
  report.add("p99_us", percentile(samples, 0.99));
  samples.resize(arguments.count("idle_calls", 300));
  for (double& each : samples) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    each = sample();
  }
  report.add("idle_p50_us", median(samples));
  report.add("idle_p99_us", percentile(samples, 0.99));
}

}  // namespace bench
