/// The crash matrix's cells: values that die at a given moment, and every call that can carry them.
///
/// The values' `serialize` and destructors run in the parent and in workers, and die in workers
/// only.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <libpool/libpool.hpp>
#include <tests/crash/deaths.hpp>

namespace crash {

enum class Moment { never, decoding, running, encoding, publishing };

inline const pid_t host = ::getpid();

/// What one item is told to do.
struct Order {
  int item = 0;
  Moment moment = Moment::never;
  std::size_t death = 0;
  /// Dies only as long as fewer workers than this have died.
  int deaths_wanted = 1'000'000;

  void obey(Moment now) const {
    if (now == moment && ::getpid() != host && oracle::page.words[deaths_so_far] < deaths_wanted)
      die(death);
  }
};

/// Counts its decoding as the item's start.
struct Argument {
  Order order;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & order;
    if constexpr (Archive::is_loading::value) {
      oracle::count_execution(order.item);
      order.obey(Moment::decoding);
    }
  }
};

class Result {
 public:
  Result() = default;
  explicit Result(const Order& order) : order_(order) {}
  Result(const Result&) = default;
  Result& operator=(const Result&) = default;
  ~Result() { order_.obey(Moment::publishing); }
  [[nodiscard]] int item() const { return order_.item; }
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    if constexpr (Archive::is_saving::value) order_.obey(Moment::encoding);
    archive & order_;
  }

 private:
  Order order_;
};

inline Result work(const Argument& argument) {
  argument.order.obey(Moment::running);
  return Result(argument.order);
}

inline std::vector<Argument> orders(int items, const Order& bad) {
  std::vector<Argument> all(static_cast<std::size_t>(items));
  for (int item = 0; item < items; ++item) all[static_cast<std::size_t>(item)].order.item = item;
  all[static_cast<std::size_t>(bad.item)].order = bad;
  return all;
}

/// What a call gave: which items have their result, and the error, if any.
struct Seen {
  std::vector<bool> results;
  std::optional<libpool::WorkerCrashed> crash;
  int errors = 0;

  explicit Seen(std::size_t items) : results(items) {}
  void result(const Result& result) { results.at(static_cast<std::size_t>(result.item())) = true; }
  template <class Get>
  void collect(Get get) {
    try {
      get();
    } catch (const libpool::WorkerCrashed& error) {
      crash = error;
      ++errors;
    }
  }
};

using Pool = libpool::ProcessPool;
using Items = std::vector<Argument>;

inline Seen by_apply(Pool& pool, const Items& items) {
  Seen seen(items.size());
  for (const Argument& item : items) seen.collect([&] { seen.result(pool.apply(work, item)); });
  return seen;
}
inline Seen by_apply_async(Pool& pool, const Items& items) {
  Seen seen(items.size());
  std::vector<libpool::AsyncResult<Result>> handles;
  for (const Argument& item : items) handles.push_back(pool.apply_async(work, item));
  for (auto& handle : handles) seen.collect([&] { seen.result(handle.get()); });
  return seen;
}
inline Seen by_map(Pool& pool, const Items& items) {
  Seen seen(items.size());
  seen.collect([&] {
    for (const Result& result : pool.map(work, items, {.chunksize = 4})) seen.result(result);
  });
  return seen;
}
inline Seen by_try_map(Pool& pool, const Items& items) {
  Seen seen(items.size());
  for (auto& outcome : pool.try_map(work, items, {.chunksize = 4})) {
    seen.collect([&] { seen.result(outcome.value()); });
  }
  return seen;
}
template <class Range>
Seen by_range(Range range, std::size_t items) {
  Seen seen(items);
  bool more = true;
  while (more) {
    seen.collect([&] {
      const auto result = range.next();
      more = result.has_value();
      if (more) seen.result(*result);
    });
  }
  return seen;
}
inline Seen by_imap(Pool& pool, const Items& items) {
  return by_range(pool.imap(work, items), items.size());
}
inline Seen by_imap_chunks(Pool& pool, const Items& items) {
  return by_range(pool.imap(work, items, {.chunksize = 4}), items.size());
}
inline Seen by_imap_unordered(Pool& pool, const Items& items) {
  return by_range(pool.imap_unordered(work, items, {.chunksize = 3}), items.size());
}

struct Call {
  const char* name;
  Seen (*make)(Pool&, const Items&);
  bool index_is_zero;   ///< each item is a batch of its own
  bool all_or_nothing;  ///< an error hides the results
};

inline const std::array calls{
    Call{"apply", by_apply, true, false},
    Call{"apply_async", by_apply_async, true, false},
    Call{"map", by_map, false, true},
    Call{"try_map", by_try_map, false, false},
    Call{"imap", by_imap, false, false},
    Call{"imap in chunks", by_imap_chunks, false, false},
    Call{"imap_unordered", by_imap_unordered, false, false},
};

/// Every item has its result and ran once.
inline void check_all_right(const Seen& seen) {
  CHECK(seen.errors == 0);
  CHECK(std::ranges::count(seen.results, true) == static_cast<std::ptrdiff_t>(seen.results.size()));
  CHECK(oracle::executed(static_cast<int>(seen.results.size())) ==
        static_cast<int>(seen.results.size()));
}

inline void check_blame(const Call& call, const Seen& seen, int bad, const Death& death) {
  REQUIRE(seen.errors == 1);
  CHECK(seen.crash->index() == (call.index_is_zero ? 0U : static_cast<std::size_t>(bad)));
  CHECK(seen.crash->pid() == oracle::page.words[dying_pid]);
  if (oracle::sanitized && death.sanitizers_interfere && seen.crash->exit_status()) return;
  CHECK(seen.crash->signal() == death.signal);
  CHECK(seen.crash->exit_status() == death.exit_status);
}

/// The bad item is blamed, each other has its result, and none ran twice.
inline void check_only_one_lost(const Call& call, const Seen& seen, int bad, const Death& death) {
  check_blame(call, seen, bad, death);
  const auto items = static_cast<std::ptrdiff_t>(seen.results.size());
  if (!call.all_or_nothing) {
    CHECK(std::ranges::count(seen.results, true) == items - 1);
    CHECK_FALSE(seen.results.at(static_cast<std::size_t>(bad)));
  }
  CHECK(oracle::executed(static_cast<int>(items)) == items);
}

/// Registers a test case for each cell; its name is the fact and the cell's. doctest takes
/// functions without parameters: hundreds of copies of more than one call would take a minute to
/// compile.
template <void (*Run)(std::size_t cell), std::size_t Stride = 1, std::size_t... Places>
int register_cells(const char* file, const char* fact, std::string (*name_of)(std::size_t cell),
                   std::index_sequence<Places...>) {
  using doctest::detail::TestCase;
  int number = 0;
  // No fold expression: Clang folds at most 256 operands.
  const int registered[] = {doctest::detail::regTest(
      TestCase([] { Run(Stride * Places); }, file, 1, {},
               doctest::String(name_of(Stride * Places).c_str()), ++number) *
      fact)...};
  return static_cast<int>(std::size(registered));
}

}  // namespace crash
