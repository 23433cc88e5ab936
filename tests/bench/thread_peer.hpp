/// The workloads of a thread pool, written once; each peer's file says how it runs loops and tasks.
///
/// A peer is a class with a constructor that takes the number of workers, and
///   each(n, f)     calls f(i) for each i below n, one task each
///   ranges(n, f)   calls f(begin, end) for parts of [0, n) of the peer's own choice
///   one(f)         calls f in the pool and waits for it
#pragma once

#include <memory>

#include "bench.hpp"
#include "compute.hpp"
#include "process_info.hpp"

namespace bench {

template <class Peer>
void thread_empty_tasks(const Arguments& arguments, Report& report) {
  Peer peer(arguments.workers());
  report_increments(arguments.count("tasks", 1e6), "tasks_per_s", arguments, report,
                    [&](const Numbers& input, Numbers& output) {
                      output = Numbers(input.size());
                      peer.each(input.size(),
                                [&](std::size_t i) { output[i] = increment(input[i]); });
                    });
}

template <class Peer>
void thread_trivial_items(const Arguments& arguments, Report& report) {
  Peer peer(arguments.workers());
  report_increments(arguments.count("items", 1e7), "items_per_s", arguments, report,
                    [&](const Numbers& input, Numbers& output) {
                      output = Numbers(input.size());
                      peer.ranges(input.size(), [&](std::size_t begin, std::size_t end) {
                        for (std::size_t i = begin; i < end; ++i) output[i] = increment(input[i]);
                      });
                    });
}

template <class Peer>
void thread_round_trips(const Arguments& arguments, Report& report) {
  Peer peer(arguments.workers());
  std::int64_t result = 0;
  round_trips(arguments, report, [&] { peer.one([&] { result = increment(result); }); });
  check(result > 0, "W3");
}

/// W5's loops: one task an index, or parts of the peer's choice.
template <class Peer>
auto thread_loop(Peer& peer) {
  return [&peer](auto f, const auto& inputs, bool one_a_chunk) {
    Numbers results(inputs.size());
    if (one_a_chunk) {
      peer.each(inputs.size(), [&](std::size_t i) { results[i] = f(inputs[i]); });
    } else {
      peer.ranges(inputs.size(), [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) results[i] = f(inputs[i]);
      });
    }
    return results;
  };
}

template <class Peer>
void thread_uneven_tasks(const Arguments& arguments, Report& report) {
  Peer peer(arguments.workers());
  uneven_tasks(arguments, report, thread_loop(peer));
}

template <class Peer>
void thread_short_tasks(const Arguments& arguments, Report& report) {
  Peer peer(arguments.workers());
  short_tasks(arguments, report, thread_loop(peer));
}

template <class Peer>
void thread_make_and_destroy(const Arguments& arguments, Report& report) {
  const std::size_t workers = arguments.workers();
  report.add("ms", 1e3 * median_seconds(arguments.budget(), [&] { Peer peer(workers); }));
  report.add("with_a_task_ms", 1e3 * median_seconds(arguments.budget(), [&] {
                                 Peer peer(workers);
                                 peer.one([] {});
                               }));
}

template <class Peer>
void thread_many_workers(const Arguments& arguments, Report& report) {
  for (const std::size_t workers : {1, 2, 4, 16, 64, 256}) {
    Peer peer(workers);
    const std::size_t tasks = arguments.count("tasks_a_worker", 200) * workers;
    const auto sleep_a_little = [](std::size_t) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    };
    const double spent =
        median_seconds(arguments.budget() / 2, [&] { peer.each(tasks, sleep_a_little); });
    report.add("per_s_with_" + std::to_string(workers), static_cast<double>(tasks) / spent);
  }
}

template <class Peer>
void thread_idle(const Arguments& arguments, Report& report) {
  idle_and_crowded(
      arguments, report, [](std::size_t workers) { return std::make_unique<Peer>(workers); },
      [](auto& peer) { peer->one([] {}); },
      [](auto& peer, std::size_t count) {
        peer->each(count,
                   [](std::size_t) { std::this_thread::sleep_for(std::chrono::milliseconds(10)); });
      });
}

template <class Peer>
std::map<std::string, Workload> thread_workloads() {
  return {{"W1", thread_empty_tasks<Peer>},   {"W2", thread_trivial_items<Peer>},
          {"W3", thread_round_trips<Peer>},   {"W5", thread_uneven_tasks<Peer>},
          {"W5s", thread_short_tasks<Peer>},  {"W6", thread_make_and_destroy<Peer>},
          {"W9w", thread_many_workers<Peer>}, {"W10", thread_idle<Peer>}};
}

}  // namespace bench
