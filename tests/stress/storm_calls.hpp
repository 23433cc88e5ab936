/// Every call of a pool, as part of a storm: each takes a run of items through the pool and tells
/// the ledger what became of each.
///
/// Runs in the parent, on many threads at once.
#pragma once

#include <array>
#include <cstdint>
#include <exception>
#include <optional>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <libpool/libpool.hpp>
#include <tests/stress/storm_ledger.hpp>

namespace storm {

using libpool::ProcessPool;

/// What a call works with; of one thread.
struct Desk {
  ProcessPool& pool;
  Ledger& ledger;
  Random& random;
  Range range;
  std::chrono::nanoseconds timeout;  ///< one that never passes, or none

  [[nodiscard]] std::optional<std::size_t> chunksize() const {
    constexpr std::array<std::size_t, 6> sizes{0, 1, 3, 16, 64, 500};
    const std::size_t size = sizes[random() % sizes.size()];
    return size == 0 ? std::nullopt : std::optional(size);
  }
  [[nodiscard]] libpool::MapOptions map_options() const {
    return {.chunksize = chunksize(), .timeout = timeout, .retries = range.retries};
  }
  [[nodiscard]] libpool::ImapOptions imap_options() const {
    return {.chunksize = chunksize(),
            .timeout = timeout,
            .retries = range.retries,
            .buffersize = random() % 2 == 0 ? std::nullopt : std::optional(1 + random() % 300)};
  }
  [[nodiscard]] std::uint32_t id(std::size_t index) const {
    return range.first + static_cast<std::uint32_t>(index);
  }
};

/// The place in its batch that an item's error names.
inline std::optional<std::size_t> index_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const libpool::WorkerCrashed& crash) {
    return crash.index();
  } catch (const libpool::RemoteOrigin& origin) {
    return origin.index();
  } catch (...) {
    return std::nullopt;
  }
}

/// Keeps which items have had their outcome, for calls that end early if the pool breaks.
class Delivered {
 public:
  explicit Delivered(const Desk& desk) : desk_(desk), seen_(desk.range.size) {}

  template <class R>
  void value(std::size_t index, const R& result) {
    seen_.at(index) = true;
    desk_.ledger.value(desk_.id(index), result);
  }
  void error(std::size_t index, const std::exception_ptr& error) {
    seen_.at(index) = true;
    desk_.ledger.error(desk_.id(index), index, error);
  }
  template <class R>
  void outcome(const libpool::Outcome<R>& outcome) {
    seen_.at(outcome.index()) = true;
    desk_.ledger.outcome(desk_.id(outcome.index()), outcome.index(), outcome);
  }
  /// The pool broke: every item that has no outcome yet has that one.
  void rest(const std::exception_ptr& error) {
    for (std::size_t index = 0; index < seen_.size(); ++index) {
      if (!seen_[index]) this->error(index, error);
    }
  }

 private:
  const Desk& desk_;
  std::vector<bool> seen_;
};

/// One error stands for a whole batch: that of one of its items, or of the pool.
inline void failed_batch(const Desk& desk, const std::exception_ptr& error) {
  const auto index = index_of(error);
  if (!index || *index >= desk.range.size) {
    Delivered(desk).rest(error);
    return;
  }
  desk.ledger.error(desk.id(*index), *index, error);
  Range rest = desk.range;
  rest.size = static_cast<std::uint32_t>(*index);
  desk.ledger.whole(rest);
  rest.first = desk.id(*index) + 1;
  rest.size = desk.range.size - rest.size - 1;
  desk.ledger.whole(rest);
}

template <class Results>
void good_batch(const Desk& desk, const Results& results) {
  if (results.size() != desk.range.size) violation("a batch of another size came back");
  for (std::size_t i = 0; i < results.size(); ++i) desk.ledger.value(desk.id(i), results[i]);
}

/// `call` returns all results or throws for one item.
template <class Call>
void whole_batch(const Desk& desk, Call call) {
  try {
    good_batch(desk, call());
  } catch (...) {
    failed_batch(desk, std::current_exception());
  }
}

inline void by_map(const Desk& desk) {
  const auto orders = desk.ledger.plain_orders(desk.range, desk.random);
  whole_batch(desk, [&] { return desk.pool.map(work, orders, desk.map_options()); });
}

/// So many retries that no kill can take an item its result.
inline void by_map_with_many_retries(Desk desk) {
  desk.range.retries = 10'000;
  const auto parcels = desk.ledger.parcels(desk.range, desk.random, true);
  try {
    good_batch(desk, desk.pool.map(deliver, parcels, desk.map_options()));
  } catch (const libpool::PoolBroken&) {
    failed_batch(desk, std::current_exception());
  } catch (const std::exception& error) {
    violation(std::string("a calm batch with endless retries threw ") + error.what());
    desk.ledger.whole(desk.range);
  }
}

inline void by_try_map(const Desk& desk) {
  const auto orders = desk.ledger.plain_orders(desk.range, desk.random);
  Delivered delivered(desk);
  try {
    for (const auto& outcome : desk.pool.try_map(work, orders, desk.map_options())) {
      delivered.outcome(outcome);
    }
  } catch (const libpool::PoolBroken&) {
    delivered.rest(std::current_exception());
  }
}

inline void by_try_starmap(const Desk& desk) {
  std::vector<std::tuple<Order, std::uint64_t>> tuples;
  for (const Order& order : desk.ledger.plain_orders(desk.range, desk.random)) {
    tuples.emplace_back(order, 0);
  }
  Delivered delivered(desk);
  try {
    for (const auto& outcome : desk.pool.try_starmap(work_both, tuples, desk.map_options())) {
      delivered.outcome(outcome);
    }
  } catch (const libpool::PoolBroken&) {
    delivered.rest(std::current_exception());
  }
}

inline void by_starmap_async(const Desk& desk) {
  std::vector<std::tuple<Order, std::uint64_t>> tuples;
  for (const Order& order : desk.ledger.plain_orders(desk.range, desk.random)) {
    tuples.emplace_back(order, 0);
  }
  whole_batch(desk, [&] {
    const auto options = desk.map_options();
    auto handle = desk.pool.starmap_async(
        work_both, tuples,
        {.chunksize = options.chunksize, .timeout = options.timeout, .retries = options.retries});
    return handle.get();
  });
}

/// Exactly one callback comes, before the handle is ready.
inline void by_map_async(const Desk& desk) {
  auto callbacks = std::make_shared<std::atomic<int>>(0);
  whole_batch(desk, [&] {
    auto handle = desk.pool.map_async(
        deliver, desk.ledger.parcels(desk.range, desk.random),
        {.chunksize = desk.chunksize(),
         .timeout = desk.timeout,
         .retries = desk.range.retries,
         .callback = [callbacks](const std::vector<Reply>&) { ++*callbacks; },
         .error_callback = [callbacks](const std::exception_ptr&) { ++*callbacks; }});
    handle.wait();
    if (*callbacks != 1) violation(std::to_string(*callbacks) + " callbacks of one batch");
    return handle.get();
  });
}

inline void by_cancelled_map_async(const Desk& desk) {
  try {
    auto handle = desk.pool.map_async(work, desk.ledger.plain_orders(desk.range, desk.random),
                                      {.chunksize = desk.chunksize(), .timeout = desk.timeout});
    std::this_thread::sleep_for(std::chrono::microseconds(desk.random() % 2000));
    const bool cancelled = handle.cancel();
    try {
      good_batch(desk, handle.get());
      if (cancelled) violation("a cancelled batch has results");
    } catch (const libpool::TaskCancelled&) {
      if (!cancelled) violation("a batch was cancelled by nobody");
      desk.ledger.whole(desk.range);
    }
  } catch (...) {
    failed_batch(desk, std::current_exception());
  }
}

template <bool ordered>
void by_imap(const Desk& desk) {
  Delivered delivered(desk);
  try {
    auto results = [&] {
      auto parcels = desk.ledger.parcels(desk.range, desk.random);
      if constexpr (ordered) {
        return desk.pool.imap(deliver, std::move(parcels), desk.imap_options());
      } else {
        return desk.pool.imap_unordered(deliver, std::move(parcels), desk.imap_options());
      }
    }();
    for (std::size_t position = 0;; ++position) {
      try {
        const auto reply = results.next();
        if (!reply) return;
        delivered.value(ordered ? position : reply->order.id - desk.range.first, *reply);
      } catch (const libpool::PoolBroken&) {
        throw;
      } catch (const std::exception&) {
        const auto index = index_of(std::current_exception());
        if (ordered && index != position) violation("imap lost its order");
        delivered.error(index.value_or(position), std::current_exception());
      }
    }
  } catch (const libpool::PoolBroken&) {
    delivered.rest(std::current_exception());
  }
}

template <bool ordered>
void by_try_imap(const Desk& desk) {
  Delivered delivered(desk);
  try {
    auto orders = desk.ledger.plain_orders(desk.range, desk.random);
    auto results = ordered
                       ? desk.pool.try_imap(work, std::move(orders), desk.imap_options())
                       : desk.pool.try_imap_unordered(work, std::move(orders), desk.imap_options());
    std::size_t position = 0;
    while (const auto outcome = results.next()) {
      if (ordered && outcome->index() != position++) violation("try_imap lost its order");
      delivered.outcome(*outcome);
    }
  } catch (const libpool::PoolBroken&) {
    delivered.rest(std::current_exception());
  }
}

inline void by_apply(Desk desk) {
  desk.range.retries = 0;  // `apply` has no options
  const auto orders = desk.ledger.plain_orders(desk.range, desk.random);
  for (const Order& order : orders) {
    try {
      desk.ledger.value(order.id, desk.pool.apply(work, order));
    } catch (...) {
      desk.ledger.error(order.id, 0, std::current_exception());
    }
  }
}

inline void by_apply_async(const Desk& desk) {
  const auto parcels = desk.ledger.parcels(desk.range, desk.random);
  auto callbacks = std::make_shared<std::atomic<std::uint32_t>>(0);
  std::vector<libpool::AsyncResult<Reply>> handles;
  std::exception_ptr refused;
  for (const Parcel& parcel : parcels) {
    if (refused == nullptr) {
      try {
        handles.push_back(desk.pool.apply_async(
            deliver, std::tuple(parcel),
            {.timeout = desk.timeout,
             .retries = desk.range.retries,
             .callback = [callbacks](const Reply&) { ++*callbacks; },
             .error_callback = [callbacks](const std::exception_ptr&) { ++*callbacks; }}));
        continue;
      } catch (...) {
        refused = std::current_exception();
      }
    }
    desk.ledger.error(parcel.order.id, 0, refused);
  }
  for (std::size_t i = 0; i < handles.size(); ++i) {
    try {
      desk.ledger.value(parcels[i].order.id, handles[i].get());
    } catch (...) {
      desk.ledger.error(parcels[i].order.id, 0, std::current_exception());
    }
  }
  if (*callbacks != handles.size()) violation("not one callback of each handle");
}

struct Call {
  void (*make)(Desk desk);
  std::uint32_t most_items;
};
template <auto call>
constexpr Call entry(std::uint32_t most_items) {
  return {[](Desk desk) { call(desk); }, most_items};
}

inline constexpr std::array calls{
    entry<by_map>(4000),
    entry<by_map_with_many_retries>(500),
    entry<by_try_map>(4000),
    entry<by_try_starmap>(2000),
    entry<by_starmap_async>(2000),
    entry<by_map_async>(1000),
    entry<by_imap<true>>(1000),
    entry<by_imap<false>>(1000),
    entry<by_try_imap<true>>(2000),
    entry<by_try_imap<false>>(2000),
    entry<by_apply>(30),
    entry<by_apply_async>(200),
    entry<by_cancelled_map_async>(500),
};

}  // namespace storm
