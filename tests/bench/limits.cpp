/// What the machine allows: a serial loop, memcpy, bare rings between processes, fork and its kin.
#include <poll.h>
#include <sys/syscall.h>

#include "rings.hpp"

namespace {

using bench::Arguments;
using bench::Numbers;
using bench::Report;
using bench::seconds;

/// W2 without anybody else: the loop that a program would write.
void serial_items(const Arguments& arguments, Report& report) {
  bench::report_increments(arguments.count("items", 1e7), "items_per_s", arguments, report,
                           [](const Numbers& input, Numbers& output) {
                             output.resize(input.size());
                             for (std::size_t i = 0; i < input.size(); ++i)
                               output[i] = bench::increment(input[i]);
                           });
}

/// W4 in the caller: each buffer copied, into memory that is there and into a fresh vector.
void copies(const Arguments& arguments, Report& report) {
  const Numbers input = bench::numbers(arguments.count("bytes", 1 << 20) / 8);
  const double gibibytes = static_cast<double>(8 * input.size()) / (1 << 30);
  Numbers output = input;
  report.add("warm_gib_per_s", gibibytes / bench::median_seconds(arguments.budget(), [&] {
                                 std::memcpy(output.data(), input.data(), 8 * input.size());
                                 bench::keep(output.data());
                               }));
  report.add("fresh_gib_per_s",
             gibibytes / bench::median_seconds(
                             arguments.budget(), [&] { output = Numbers(input); },
                             [&] {
                               output = Numbers();
                               bench::return_freed_memory();
                             }));
}

/// W4 by way of shared memory that is there, with one copy in. What differs is what the parent does
/// with a result: copies it into fresh vectors or warm ones, looks at it where it lies, or has only
/// a sum of it.
void exchanged_payloads(const Arguments& arguments, Report& report) {
  using Work = bench::Rings::Work;
  const std::size_t bytes = arguments.count("bytes", 1 << 20);
  const std::size_t size = bytes / 8;
  const std::size_t buffers = arguments.count("buffers", 64);
  bench::Rings rings(arguments.workers(), bytes);
  const Numbers input = bench::numbers(buffers * size);
  const double gibibytes = static_cast<double>(buffers * bytes) / (1 << 30);
  std::vector<Numbers> output;

  const auto rate = [&](Work work, auto take, auto prepare) {
    const auto exchange = [&] { rings.exchange(input, work, take); };
    return gibibytes / bench::median_seconds(arguments.budget(), exchange, prepare);
  };
  const auto copy_out = [&](const bench::Part& part, const std::int64_t* block) {
    output[part.begin / size].assign(block, block + part.size);
  };
  report.add("in_out_gib_per_s", rate(Work::increment, copy_out, [&] {
               output = std::vector<Numbers>(buffers);
               bench::return_freed_memory();
             }));
  bench::check(output[buffers - 1][size - 1] == static_cast<std::int64_t>(buffers * size), "W4");
  report.add("in_out_warm_gib_per_s", rate(Work::increment, copy_out, [] {}));
  const auto look = [](const bench::Part&, const std::int64_t* block) { bench::keep(*block); };
  report.add("in_out_view_gib_per_s", rate(Work::increment, look, [] {}));
  report.add("in_view_gib_per_s", rate(Work::sum, look, [] {}));
}

std::vector<pid_t> fork_many(std::size_t count) {
  std::vector<pid_t> pids;
  for (std::size_t i = 0; i < count; ++i) {
    pids.push_back(::fork());
    if (pids.back() == 0) ::_exit(0);
    if (pids.back() < 0) throw std::system_error(errno, std::generic_category(), "fork");
  }
  return pids;
}

/// W6: as many children, and one more, that end at once.
void forks(const Arguments& arguments, Report& report) {
  const std::vector<char> ballast = bench::grow_by(arguments.count("parent_mib", 0));
  bench::keep(ballast.data());
  const auto milliseconds = [&](std::size_t count) {
    return 1e3 * bench::median_seconds(arguments.budget(), [&] {
             for (const pid_t pid : fork_many(count)) ::waitpid(pid, nullptr, 0);
           });
  };
  report.add("ms", milliseconds(arguments.workers()));
  report.add("one_more_ms", milliseconds(arguments.workers() + 1));
  bench::Children children;
  children.start(arguments.workers(), [](std::size_t) { ::pause(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  std::vector<double> memory;
  for (const pid_t pid : children.pids()) memory.push_back(bench::proportional_kib(pid));
  report.add("worker_kib", bench::median(memory));
}

/// W6 for threads.
void bare_threads(const Arguments& arguments, Report& report) {
  report.add("ms", 1e3 * bench::median_seconds(arguments.budget(), [&] {
                     std::vector<std::thread> threads;
                     for (std::size_t i = 0; i < arguments.workers(); ++i)
                       threads.emplace_back([] {});
                     for (std::thread& each : threads) each.join();
                   }));
}

/// W7: how soon a pidfd tells of a SIGKILL, and how soon a forked replacement runs.
void deaths(const Arguments& arguments, Report& report) {
  const std::vector<char> ballast = bench::grow_by(arguments.count("parent_mib", 0));
  bench::keep(ballast.data());
  const bench::SharedMemory memory(sizeof(std::atomic<std::int64_t>));
  auto* started = memory.as<std::atomic<std::int64_t>>();
  const auto now = [] { return bench::Clock::now().time_since_epoch().count(); };
  std::vector<double> notice;
  std::vector<double> replacement;
  for (std::size_t i = 0; i < arguments.count("deaths", 20); ++i) {
    bench::Children victim;
    victim.start(1, [](std::size_t) { ::pause(); });
    const auto fd = static_cast<int>(::syscall(SYS_pidfd_open, victim.pids()[0], 0));
    const std::int64_t death = now();
    ::kill(victim.pids()[0], SIGKILL);
    pollfd wait{fd, POLLIN, 0};
    ::poll(&wait, 1, -1);
    notice.push_back(1e-6 * static_cast<double>(now() - death));
    *started = 0;
    bench::Children next;
    next.start(1, [&](std::size_t) { *started = now(); });
    while (*started == 0) ::sched_yield();
    replacement.push_back(1e-6 * static_cast<double>(*started - death));
    ::close(fd);
  }
  report.add("outcome_ms", bench::median(notice));
  report.add("claim_ms", bench::median(replacement));
}

std::map<std::string, bench::Workload> workloads(const std::string& contender) {
  if (contender == "rings") {
    auto all = bench::process_workloads<bench::Rings>();
    all["W4"] = exchanged_payloads;
    return all;
  }
  if (contender == "parking_rings") {
    return {{"W3", bench::process_round_trips<bench::ParkingRings>}};
  }
  if (contender == "shared_rings") {
    return {{"W1", bench::process_empty_tasks<bench::SharedRings>},
            {"W3", bench::process_round_trips<bench::SharedRings>}};
  }
  if (contender == "serial") return {{"W2", serial_items}};
  if (contender == "memcpy") return {{"W4", copies}};
  if (contender == "fork") return {{"W6", forks}, {"W7", deaths}};
  if (contender == "threads") return {{"W6", bare_threads}};
  throw std::invalid_argument("no such limit");
}

}  // namespace

int main(int count, char** values) {
  return bench::guarded([&] {
    const Arguments arguments(count, values);
    return bench::run(arguments, workloads(arguments.contender));
  });
}
