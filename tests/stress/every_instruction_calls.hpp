/// The calls whose workers die, and the check of what comes of each item.
///
/// Runs in the parent, which drives the pools itself.
#pragma once

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <type_traits>
#include <vector>

#include <libpool/libpool.hpp>
#include <tests/stress/every_instruction_tasks.hpp>

namespace every {

using libpool::ProcessPool;
using stepper::control;
using stepper::now;
using Clock = std::chrono::steady_clock;

inline bool must_fail = false;
inline std::string where = "nowhere yet";  ///< path and k

[[noreturn]] inline void leave(int status) {
  std::fflush(nullptr);
  ::_exit(status);
}
/// The first one ends the test; the pools' processes end with this one.
[[noreturn]] inline void violation(const std::string& what) {
  std::printf("VIOLATION: %s: %s\n", where.c_str(), what.c_str());
  leave(must_fail ? 0 : 1);
}

inline constexpr std::uint32_t shortest_nap_us = 300;

/// A call that hangs is a violation too; the handler allocates nothing.
inline void on_alarm(int) {
  (void)!::write(STDOUT_FILENO, where.data(), where.size());
  constexpr char what[] = ": VIOLATION: no outcome\n";
  (void)!::write(STDOUT_FILENO, what, sizeof what - 1);
  ::_exit(must_fail ? 0 : 1);
}
/// The time that is left until then begins anew.
inline void be_patient() { ::alarm(must_fail ? 10 : 30); }

// -- what becomes of a call --------------------------------------------------------------------

/// Items that the deaths were blamed on, in order.
using Blamed = std::vector<std::uint32_t>;

inline std::size_t deaths() {
  return static_cast<std::size_t>(
      std::ranges::count_if(control.struck, [](const std::int32_t& pid) { return now(pid) != 0; }));
}

/// False if the item is blamed. Its value is right, and it was begun at most once.
template <class R>
bool check_item(const libpool::Outcome<R>& outcome) {
  const auto item = static_cast<std::uint32_t>(outcome.index());
  const std::string name = "item " + std::to_string(item) + " ";
  const std::uint32_t starts = marks.starts[item];
  if (starts > 1) violation(name + "began " + std::to_string(starts) + " times");
  if (outcome) {
    std::uint64_t answer = 0;
    if constexpr (std::is_same_v<R, Reply>) {
      answer = (*outcome).answer;
      for (const Piece& piece : (*outcome).pieces) {
        if (std::ranges::count(piece, item) != static_cast<long>(piece.size())) answer = 0;
      }
    } else {
      answer = *outcome;
    }
    if (answer != answer_to(item) || starts != 1) violation(name + "has a wrong value");
    return true;
  }
  try {
    std::rethrow_exception(outcome.exception());
  } catch (const libpool::WorkerCrashed& crash) {
    if (crash.index() != item) violation(name + "is blamed under another index");
    if (marks.ends[item] != 0) violation(name + "is blamed though it was published");
    const bool ours =
        crash.pid() == now(control.struck[0]) || crash.pid() == now(control.struck[1]);
    if (crash.signal() != SIGKILL || !ours ||
        std::string(crash.what()).find("damaged") != std::string::npos) {
      violation(name + "is blamed for another death: " + crash.what());
    }
  } catch (const std::exception& error) {
    violation(name + "threw " + error.what());
  }
  return false;
}

template <class R>
Blamed check_call(const std::vector<libpool::Outcome<R>>& outcomes) {
  Blamed blamed;
  for (const auto& outcome : outcomes) {
    if (!check_item(outcome)) blamed.push_back(static_cast<std::uint32_t>(outcome.index()));
  }
  if (blamed.size() > deaths()) violation("more items are blamed than workers died");
  return blamed;
}

inline void clear_marks() {
  for (std::size_t item = 0; item < items; ++item) marks.starts[item] = marks.ends[item] = 0;
  marks.parent_decodes = 0;
}

inline std::vector<Parcel> parcels(std::uint32_t count) {
  std::vector<Parcel> made;
  for (std::uint32_t item = 0; item < count; ++item) made.emplace_back(Order{.item = item});
  return made;
}

template <class Condition>
bool await(Condition condition) {
  constexpr auto patience = std::chrono::seconds(8);
  const auto deadline = Clock::now() + patience;
  while (!condition()) {
    if (Clock::now() > deadline) return false;
    ::usleep(20);
  }
  return true;
}

/// A call after the one in question finds the pool in order, whatever is under way; then its worker
/// falls asleep.
inline void settle(ProcessPool& pool) {
  clear_marks();
  if (!check_call(pool.try_map(deliver, parcels(2))).empty()) violation("a bystander is blamed");
  const bool sleeps = await([&] {
    // Nobody drives an idle pool, and so a worker that retires has no successor.
    (void)pool.stats();
    return marks.asleep == idle;
  });
  if (!sleeps) violation("the worker does not come to rest");
}

/// Its successor has run nothing but the call that `settle` makes.
inline void replace_worker(ProcessPool& pool) {
  ::kill(pool.stats().workers.at(0).pid, SIGKILL);
  settle(pool);
}

inline bool over() { return deaths() == control.count || now(control.through) != 0; }

// -- calls -------------------------------------------------------------------------------------

inline Blamed two_chunks(ProcessPool& pool) {
  auto all = parcels(4);
  all[1].order.nap = Nap::before_running;
  return check_call(pool.try_map(deliver, all, {.chunksize = 2}));
}
inline Blamed two_longer_chunks(ProcessPool& pool) {
  auto all = parcels(6);
  all[1].order.nap = all[2].order.nap = Nap::before_running;
  return check_call(pool.try_map(deliver, all, {.chunksize = 3}));
}
inline Blamed two_timed_chunks(ProcessPool& pool) {
  auto all = parcels(4);
  all[1].order.nap = Nap::before_running;
  return check_call(pool.try_map(deliver, all, {.chunksize = 2, .timeout = std::chrono::hours(1)}));
}
inline Blamed two_chunks_of_bits(ProcessPool& pool) {
  std::vector<Order> orders;
  for (std::uint32_t item = 0; item < 6; ++item) orders.push_back({.item = item});
  orders[1].nap = orders[2].nap = Nap::before_running;
  return check_call(pool.try_map(run_bits, orders, {.chunksize = 3}));
}
/// The later items travel together; by then it is known that they are short.
inline Blamed bundles(ProcessPool& pool) {
  std::vector<Order> orders;
  for (std::uint32_t item = 0; item < 48; ++item) orders.push_back({.item = item});
  return check_call(pool.try_map(run_bits, orders, {.chunksize = 1}));
}
/// The second item's result fills the ring while the parent decodes the first one's.
inline Blamed full_ring(ProcessPool& pool) {
  auto all = parcels(3);
  all[0].order.hold = Hold::holds_parent;
  all[1].order.hold = Hold::waits_for_held_parent;
  all[1].order.pieces = 10;
  return check_call(pool.try_map(deliver, all, {.chunksize = 3}));
}
inline Blamed memory_of_its_own(ProcessPool& pool) {
  auto all = parcels(3);
  all[0].order.nap = Nap::before_ending;
  all[1].ballast.assign(40'000, 'b');
  return check_call(pool.try_map(deliver, all, {.chunksize = 1}));
}
/// One item, after which the worker runs out of work.
inline Blamed one_item(ProcessPool& pool) { return check_call(pool.try_map(deliver, parcels(1))); }

}  // namespace every
