/// The workloads of a thread pool, written once; each peer's file says how it runs loops and tasks.
///
/// A peer is a class with a constructor that takes the number of workers, and
///   each(n, f)     calls f(i) for each i below n, one task each
///   ranges(n, f)   calls f(begin, end) for parts of [0, n) of the peer's own choice
///   one(f)         calls f in the pool and waits for it
#pragma once

#include "bench.hpp"

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

template <class Peer>
std::map<std::string, Workload> thread_workloads() {
  return {{"W1", thread_empty_tasks<Peer>},
          {"W2", thread_trivial_items<Peer>},
          {"W3", thread_round_trips<Peer>}};
}

}  // namespace bench
