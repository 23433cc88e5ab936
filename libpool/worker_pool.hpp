/// The contract that both pools satisfy, stated once, as a concept.
///
/// Runs in no process. Generic code, and the tests that both pools share, are written on it.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <optional>
#include <tuple>
#include <type_traits>
#include <vector>

#include <libpool/async_result.hpp>
#include <libpool/options.hpp>
#include <libpool/outcome.hpp>
#include <libpool/pool_stats.hpp>
#include <libpool/result_range.hpp>

namespace libpool {

/// A pool of workers, of which a program uses nothing else. What each call does, throws and keeps
/// alive is said at the calls of `ProcessPool` and `ThreadPool`; here is their shape, by the
/// example of a function `long(int)`.
///
/// Any number of threads may use a pool at once, callbacks included. Blocking calls refer to the
/// caller's range while they run. Calls that return a handle or a range keep their own copy of an
/// lvalue container, move an rvalue one in, and keep a view as a view, whose elements must live
/// until the job ends. `f` receives `const T&` from lvalues and views, `T&&` from rvalues.
template <class P>
concept WorkerPool =
    std::constructible_from<P, std::size_t, PoolOptions> && !std::copyable<P> && !std::movable<P> &&
    requires(P& pool, long (*f)(int), long (*g)(int, int), std::vector<int>& items,
             std::vector<std::tuple<int, int>>& tuples, MapOptions map, ImapOptions imap,
             MapAsyncOptions<long> map_async, ApplyOptions<long> apply) {
      // Blocking: all results in input order, or the error of the lowest index when all items have
      // finished.
      { pool.map(f, items, map) } -> std::same_as<std::vector<long>>;
      { pool.starmap(g, tuples, map) } -> std::same_as<std::vector<long>>;
      { pool.try_map(f, items, map) } -> std::same_as<std::vector<Outcome<long>>>;
      { pool.try_starmap(g, tuples, map) } -> std::same_as<std::vector<Outcome<long>>>;
      { pool.apply(g, 1, 2) } -> std::same_as<long>;

      // At once: a handle.
      { pool.apply_async(g, 1, 2) } -> std::same_as<AsyncResult<long>>;
      { pool.apply_async(f, std::tuple<int>(1), apply) } -> std::same_as<AsyncResult<long>>;
      { pool.map_async(f, items, map_async) } -> std::same_as<AsyncResult<std::vector<long>>>;
      { pool.starmap_async(g, tuples, map_async) } -> std::same_as<AsyncResult<std::vector<long>>>;

      // Lazy: a range that yields in input order, or as tasks finish.
      { pool.imap(f, items, imap) } -> std::same_as<ResultRange<long>>;
      { pool.imap_unordered(f, items, imap) } -> std::same_as<ResultRange<long>>;
      { pool.try_imap(f, items, imap) } -> std::same_as<ResultRange<Outcome<long>>>;
      { pool.try_imap_unordered(f, items, imap) } -> std::same_as<ResultRange<Outcome<long>>>;

      // Lifecycle: repeatable, from any thread. The destructor terminates and joins.
      { pool.close() } -> std::same_as<void>;
      { pool.terminate() } -> std::same_as<void>;
      { pool.join() } -> std::same_as<void>;
      { pool.size() } -> std::same_as<std::size_t>;
      { pool.stats() } -> std::same_as<PoolStats>;
    };

}  // namespace libpool
