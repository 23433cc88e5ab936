/// The oracle of a storm: what each item was told to do, what became of it, and whether the two can
/// both be true.
///
/// Private memory of the parent. It believes the shared page, which no library code writes, and
/// nothing else.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <libpool/libpool.hpp>
#include <tests/stress/storm_page.hpp>

namespace storm {

using Random = std::mt19937_64;

/// Counted over the whole storm.
struct Totals {
  std::atomic<std::uint64_t> items;
  std::atomic<std::uint64_t> blamed;
  std::atomic<std::uint64_t> unproven;  ///< blamed before an instruction of the item's own
  std::atomic<std::uint64_t> rerun;     ///< items whose body began more than once, by retries
  std::atomic<std::uint64_t> broken;    ///< outcomes that name a broken pool
  std::atomic<std::uint64_t> violations;
};
inline Totals totals;

inline void violation(const std::string& what) {
  if (++totals.violations <= 20) std::fprintf(stderr, "VIOLATION: %s\n", what.c_str());
}

/// Processes that were struck from outside, by pid. Numbers are reused: a struck one stays struck.
inline std::vector<std::atomic<bool>> struck_pids(std::size_t{1} << 22);

/// A run of consecutive ids that one call carries.
struct Range {
  std::uint32_t first = 0;
  std::uint32_t size = 0;
  std::size_t retries = 0;
};

/// Of one pool.
class Ledger {
 public:
  Ledger(std::uint32_t quota, bool limited_memory)
      : quota_(quota), limited_memory_(limited_memory), entries_(quota) {
    for (std::size_t id = 0; id < max_items; ++id) {
      Trace& trace = page.traces[id];
      trace.decodes = trace.starts = trace.published = 0;
      trace.worker = 0;
    }
  }

  /// The next ids; nothing when the quota is used up.
  std::optional<Range> take(std::uint32_t size, std::size_t retries) {
    const std::uint32_t first = next_.fetch_add(size);
    if (first >= quota_) return std::nullopt;
    return Range{first, std::min(size, quota_ - first), retries};
  }

  /// Most items are calm; with `calm`, all.
  std::vector<Order> plain_orders(Range range, Random& random, bool calm = false) {
    std::vector<Order> orders;
    for (std::uint32_t id = range.first; id < range.first + range.size; ++id) {
      orders.push_back(order(id, range, random, calm));
      orders.back().moment = Moment::running;
    }
    remember(orders, range);
    return orders;
  }
  std::vector<Parcel> parcels(Range range, Random& random, bool calm = false) {
    std::vector<Order> orders;
    std::vector<Parcel> parcels(range.size);
    for (std::uint32_t i = 0; i < range.size; ++i) {
      Parcel& parcel = parcels[i];
      parcel.order = order(range.first + i, range, random, calm);
      if (deadly(parcel.order.fate)) parcel.order.moment = static_cast<Moment>(random() % 3);
      if (random() % 64 == 0)
        parcel.order.result_bytes = static_cast<std::uint32_t>(random() % 20'000);
      if (random() % 128 == 0) parcel.ballast.assign(random() % 30'000, 'a');
      if (random() % 256 == 0) parcel.ballast.assign(random() % 300'000, 'a');
      orders.push_back(parcel.order);
    }
    remember(orders, range);
    return parcels;
  }

  // -- outcomes, each said once for each item; `index` is its place in its batch

  void value(std::uint32_t id, std::uint64_t answer) {
    const Entry& entry = settle(id);
    if (answer != answer_to(id)) bad(id, "a wrong value");
    const Trace& trace = page.traces[id];
    if (trace.starts == 0) bad(id, "a value though its body never began");
    if (entry.order.fate != Fate::calm && entry.retries < entry.order.deaths_wanted) {
      bad(id, "a value though it never returns");
    }
    if (trace.starts > 1) ++totals.rerun;
  }
  void value(std::uint32_t id, const Reply& reply) {
    if (reply.order.id != id) bad(id, "another item's reply");
    if (reply.ballast.size() != reply.order.result_bytes ||
        reply.ballast.find_first_not_of('r') != std::string::npos) {
      bad(id, "a damaged reply");
    }
    value(id, reply.answer);
  }

  void error(std::uint32_t id, std::size_t index, const std::exception_ptr& error) {
    const Entry& entry = settle(id);
    try {
      std::rethrow_exception(error);
    } catch (const libpool::WorkerCrashed& crash) {
      check_blame(id, index, entry, crash);
    } catch (const libpool::PoolBroken&) {
      ++totals.broken;
      if (!server_struck) bad(id, "a broken pool though the fork server lives");
    } catch (const std::bad_alloc&) {
      if (entry.order.fate != Fate::hoard) bad(id, "out of memory");
    } catch (const std::exception& thrown) {
      const bool its_own =
          entry.order.fate == Fate::throws && thrown.what() == "item " + std::to_string(id);
      if (!its_own) bad(id, "threw " + std::string(thrown.what()));
    }
  }

  template <class R>
  void outcome(std::uint32_t id, std::size_t index, const libpool::Outcome<R>& outcome) {
    if (outcome.index() != index) bad(id, "an outcome with a wrong index");
    if (outcome) {
      value(id, *outcome);
    } else {
      error(id, index, outcome.exception());
    }
  }

  /// A whole batch failed with one error, or was cancelled: its items have no outcome each.
  void whole(Range range) {
    for (std::uint32_t id = range.first; id < range.first + range.size; ++id) settle(id);
  }

  /// After the end of the pool: nothing runs any more.
  void close() {
    const std::uint32_t used = std::min(next_.load(), quota_);
    for (std::uint32_t id = 0; id < used; ++id) {
      const Entry& entry = entries_[id];
      if (entry.outcomes != 1) bad(id, std::to_string(entry.outcomes) + " outcomes");
      const Trace& trace = page.traces[id];
      if (trace.starts > entry.retries + 1 || trace.decodes > entry.retries + 1) {
        bad(id, "begun more often than its retries allow");
      }
    }
    totals.items += used;
  }

  std::atomic<bool> server_struck = false;

 private:
  struct Entry {
    Order order;
    std::size_t retries = 0;
    std::atomic<std::uint32_t> outcomes = 0;
  };

  Order order(std::uint32_t id, Range range, Random& random, bool calm) const {
    Order made{.id = id};
    if (calm || random() % 400 != 0) return made;
    made.fate = static_cast<Fate>(random() % fates);
    if (made.fate == Fate::hoard && !limited_memory_) made.fate = Fate::throws;
    if (range.retries != 0) made.deaths_wanted = static_cast<std::uint8_t>(1 + random() % 3);
    return made;
  }
  void remember(const std::vector<Order>& orders, Range range) {
    for (const Order& order : orders) {
      entries_[order.id].order = order;
      entries_[order.id].retries = range.retries;
    }
  }
  Entry& settle(std::uint32_t id) {
    Entry& entry = entries_.at(id);
    ++entry.outcomes;
    return entry;
  }

  /// What the page can prove of an item that is blamed. It cannot tell an item whose worker died
  /// between its progress word's first store and its own first instruction from one that was not
  /// begun at all: those are counted apart, and are few.
  void check_blame(std::uint32_t id, std::size_t index, const Entry& entry,
                   const libpool::WorkerCrashed& crash) {
    ++totals.blamed;
    const Trace& trace = page.traces[id];
    if (crash.index() != index) bad(id, "blamed under a wrong index");
    if (trace.published != 0) bad(id, "blamed though its result was published");
    const std::uint32_t begun = std::max<std::uint32_t>(trace.decodes, trace.starts);
    if (begun == entry.retries + 1 && trace.worker != crash.pid()) {
      bad(id, "blamed for the death of a worker that never had it");
    }
    if (begun == 0) ++totals.unproven;
    const Expected end = end_of(entry.order.fate);
    const bool by_itself = deadly(entry.order.fate) && begun != 0 &&
                           crash.signal().value_or(0) == end.signal &&
                           crash.exit_status().value_or(0) == end.status;
    const bool by_killer =
        crash.signal() == SIGKILL &&
        (server_struck || struck_pids[static_cast<std::size_t>(crash.pid())].load());
    if (!by_itself && !by_killer) bad(id, std::string("nobody caused this: ") + crash.what());
  }

  void bad(std::uint32_t id, const std::string& what) const {
    const Entry& entry = entries_[id];
    const Trace& trace = page.traces[id];
    violation("item " + std::to_string(id) + ": " + what + " (fate " +
              std::to_string(static_cast<int>(entry.order.fate)) + ", retries " +
              std::to_string(entry.retries) + ", decodes " + std::to_string(trace.decodes) +
              ", starts " + std::to_string(trace.starts) + ", published " +
              std::to_string(trace.published) + ", worker " + std::to_string(trace.worker) + ")");
  }

  const std::uint32_t quota_;
  const bool limited_memory_;
  std::atomic<std::uint32_t> next_ = 0;
  std::vector<Entry> entries_;  ///< an entry is written by the one thread that has its id
};

}  // namespace storm
