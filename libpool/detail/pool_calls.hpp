/// The calls that both pools offer, written once: they check, pack and delegate.
///
/// Runs in the parent, on the calling thread. Neighbours: sources (the input), stores (the
/// outcome), and the derived pool, whose `start` takes both to its core.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <libpool/async_result.hpp>
#include <libpool/detail/batch.hpp>
#include <libpool/detail/callable.hpp>
#include <libpool/detail/result_stores.hpp>
#include <libpool/detail/source.hpp>
#include <libpool/detail/stream_store.hpp>
#include <libpool/options.hpp>
#include <libpool/outcome.hpp>
#include <libpool/pool_stats.hpp>
#include <libpool/result_range.hpp>

namespace libpool::detail {

/// Throws `std::invalid_argument` for what no pool can obey.
LIBPOOL_EXPORT void check_pool_arguments(std::size_t workers, const PoolOptions& options);
LIBPOOL_EXPORT void check_size_option(const std::optional<std::size_t>& size, const char* name);
LIBPOOL_EXPORT void check_timeout(std::chrono::nanoseconds timeout);

/// The pool's own look-ahead.
[[nodiscard]] LIBPOOL_EXPORT Lookahead lookahead_for(const PoolOptions& options,
                                                     std::size_t workers) noexcept;

/// The window of an `imap`.
[[nodiscard]] LIBPOOL_EXPORT Window window_for(const ImapOptions& options, Lookahead lookahead,
                                               Cost cost);

template <class T>
inline constexpr bool is_apply_options = false;
template <class R>
inline constexpr bool is_apply_options<ApplyOptions<R>> = true;

/// Of `apply`, as far as it is not typed.
struct ApplyTerms {
  std::chrono::nanoseconds timeout{0};
  std::size_t retries = 0;
};

enum class Unpack : bool { no, tuples };  ///< `map`, or `starmap`

template <class F, Unpack unpack, bool blocking, std::ranges::input_range Range>
auto source_of(Range&& range) {
  if constexpr (unpack == Unpack::tuples) {
    return make_star_source<F, blocking>(std::forward<Range>(range));
  } else {
    return make_source<F, blocking>(std::forward<Range>(range));
  }
}

/// Results by what is called with what. `NotCallable` where the call does not compile; the body
/// says why.
template <class F, class Range, Unpack unpack, bool blocking>
using result_of_t =
    source_result_t<std::decay_t<F>,
                    decltype(source_of<F, unpack, blocking>(std::declval<Range>()))>;
template <class F, class Range>
using map_result_t = result_of_t<F, Range&&, Unpack::no, true>;
template <class F, class Range>
using starmap_result_t = result_of_t<F, Range&&, Unpack::tuples, true>;
template <class F, class Range>
using map_async_result_t = result_of_t<F, Range&&, Unpack::no, false>;
template <class F, class Range>
using starmap_async_result_t = result_of_t<F, Range&&, Unpack::tuples, false>;
template <class F, class... A>
using apply_result_t = source_result_t<std::decay_t<F>, ArgumentsSource<std::decay_t<F>, A...>>;

/// `Derived` has `core()`, `lookahead()`, `check_task<F, Source>()` and `start(f, source,
/// store)`, see there.
template <class Derived>
class PoolCalls {
 public:
  PoolCalls(const PoolCalls&) = delete;
  PoolCalls& operator=(const PoolCalls&) = delete;

  // -- calls that block ------------------------------------------------------------------------

  /// Calls `f` with each element in the workers and returns the results in input order (nothing for
  /// a void `f`). Throws, after all items have finished, the error of the lowest index, or what the
  /// input threw; `PoolClosed`, `PoolBroken`; `std::invalid_argument` for a chunk size of zero.
  template <class F, std::ranges::input_range Range>
  auto map(F&& f, Range&& range, MapOptions options = {})
      -> vector_or_void_t<map_result_t<F, Range>> {
    return run_all<VectorStore<map_result_t<F, Range>>, Unpack::no>(
        std::forward<F>(f), std::forward<Range>(range), options);
  }

  /// `map` for elements that are tuple-like: each is unpacked into the arguments of `f`.
  template <class F, std::ranges::input_range Range>
  auto starmap(F&& f, Range&& range, MapOptions options = {})
      -> vector_or_void_t<starmap_result_t<F, Range>> {
    return run_all<VectorStore<starmap_result_t<F, Range>>, Unpack::tuples>(
        std::forward<F>(f), std::forward<Range>(range), options);
  }

  /// `map` that never throws for an item: one outcome for each, in input order. Throws for the pool
  /// and the input.
  template <class F, std::ranges::input_range Range>
  auto try_map(F&& f, Range&& range, MapOptions options = {})
      -> std::vector<Outcome<map_result_t<F, Range>>> {
    return run_all<OutcomesStore<map_result_t<F, Range>>, Unpack::no>(
        std::forward<F>(f), std::forward<Range>(range), options);
  }

  /// `starmap` that never throws for an item, see `try_map`.
  template <class F, std::ranges::input_range Range>
  auto try_starmap(F&& f, Range&& range, MapOptions options = {})
      -> std::vector<Outcome<starmap_result_t<F, Range>>> {
    return run_all<OutcomesStore<starmap_result_t<F, Range>>, Unpack::tuples>(
        std::forward<F>(f), std::forward<Range>(range), options);
  }

  /// One call of `f` in one worker. Throws what it throws.
  template <class F, class... A>
  auto apply(F&& f, A&&... arguments) -> apply_result_t<F, A&&...> {
    using R = apply_result_t<F, A&&...>;
    auto store = start_apply<R>(Feeding::by_caller, std::forward<F>(f), {}, {},
                                std::forward<A>(arguments)...);
    return wait_for(*store);
  }

  // -- calls that return a handle --------------------------------------------------------------

  /// `apply` at once. Of `f` and the arguments it keeps copies, or the rvalues. Of a process pool,
  /// threads that submit much take in the outcomes of earlier tasks meanwhile: hold no lock that
  /// decoding a result, or destroying a function or an argument, takes.
  template <class F, class... A>
    requires(!is_apply_options<std::decay_t<A>> && ...)
  auto apply_async(F&& f, A&&... arguments) -> AsyncResult<apply_result_t<F, A&&...>> {
    using R = apply_result_t<F, A&&...>;
    return AsyncResult<R>(start_apply<R>(Feeding::at_submit, std::forward<F>(f), {}, {},
                                         std::forward<A>(arguments)...));
  }

  /// The same with options; the arguments are the tuple's elements, as rvalues.
  template <class F, class... A>
  auto apply_async(F&& f, std::tuple<A...> arguments,
                   ApplyOptions<std::type_identity_t<apply_result_t<F, A&&...>>> options)
      -> AsyncResult<apply_result_t<F, A&&...>> {
    using R = apply_result_t<F, A&&...>;
    return std::apply(
        [&](auto&... argument) {
          return AsyncResult<R>(
              start_apply<R>(Feeding::at_submit, std::forward<F>(f),
                             {.timeout = options.timeout, .retries = options.retries},
                             {std::move(options.callback), std::move(options.error_callback)},
                             static_cast<A&&>(argument)...));
        },
        arguments);
  }

  /// `map` at once; keeps its own copy of an lvalue container, moves an rvalue one in, and keeps a
  /// view as a view. What the input throws comes through the handle.
  template <class F, std::ranges::input_range Range>
  auto map_async(F&& f, Range&& range,
                 MapAsyncOptions<std::type_identity_t<map_async_result_t<F, Range>>> options = {})
      -> AsyncResult<vector_or_void_t<map_async_result_t<F, Range>>> {
    return run_async<map_async_result_t<F, Range>, Unpack::no>(
        std::forward<F>(f), std::forward<Range>(range), std::move(options));
  }

  /// `starmap` at once, see `map_async`.
  template <class F, std::ranges::input_range Range>
  auto starmap_async(
      F&& f, Range&& range,
      MapAsyncOptions<std::type_identity_t<starmap_async_result_t<F, Range>>> options = {})
      -> AsyncResult<vector_or_void_t<starmap_async_result_t<F, Range>>> {
    return run_async<starmap_async_result_t<F, Range>, Unpack::tuples>(
        std::forward<F>(f), std::forward<Range>(range), std::move(options));
  }

  // -- lazy calls ------------------------------------------------------------------------------

  /// Yields results in input order as they come, while the input is pulled no further ahead than
  /// the window. For the fate of the range see `ResultRange`.
  template <class F, std::ranges::input_range Range>
  auto imap(F&& f, Range&& range, ImapOptions options = {})
      -> ResultRange<stored_t<map_async_result_t<F, Range>>> {
    return stream<stored_t<map_async_result_t<F, Range>>, false>(
        true, std::forward<F>(f), std::forward<Range>(range), options);
  }

  /// As `imap`, yielding as tasks finish.
  template <class F, std::ranges::input_range Range>
  auto imap_unordered(F&& f, Range&& range, ImapOptions options = {})
      -> ResultRange<stored_t<map_async_result_t<F, Range>>> {
    return stream<stored_t<map_async_result_t<F, Range>>, false>(
        false, std::forward<F>(f), std::forward<Range>(range), options);
  }

  /// As `imap`, yielding outcomes: iterating never throws for an item.
  template <class F, std::ranges::input_range Range>
  auto try_imap(F&& f, Range&& range, ImapOptions options = {})
      -> ResultRange<Outcome<map_async_result_t<F, Range>>> {
    return stream<map_async_result_t<F, Range>, true>(true, std::forward<F>(f),
                                                      std::forward<Range>(range), options);
  }

  /// As `try_imap`, yielding as tasks finish; `index()` tells the item.
  template <class F, std::ranges::input_range Range>
  auto try_imap_unordered(F&& f, Range&& range, ImapOptions options = {})
      -> ResultRange<Outcome<map_async_result_t<F, Range>>> {
    return stream<map_async_result_t<F, Range>, true>(false, std::forward<F>(f),
                                                      std::forward<Range>(range), options);
  }

  // -- lifecycle: all can be repeated, and raced from any threads --------------------------------

  /// No new work; all that was submitted still runs.
  void close() { checked_core().close(); }

  /// Ends all work at once; every waiter wakes with `PoolTerminated`.
  void terminate() { checked_core().terminate(); }

  /// Waits for what was submitted, callbacks included. Throws `std::logic_error` on a pool that is
  /// still open, and in a callback of this pool.
  void join() { checked_core().join(); }

  /// The workers wanted.
  [[nodiscard]] std::size_t size() const { return checked_core().size(); }

  /// A snapshot.
  [[nodiscard]] PoolStats stats() const { return checked_core().stats(); }

 protected:
  PoolCalls() = default;
  ~PoolCalls() = default;

 private:
  [[nodiscard]] Derived& derived() noexcept { return static_cast<Derived&>(*this); }
  [[nodiscard]] PoolCore& core() const { return static_cast<const Derived&>(*this).core(); }
  [[nodiscard]] PoolCore& checked_core() const {
    core().check_process();
    return core();
  }

  template <class F, class Source, class Store>
  void start(F&& f, Source&& source, const std::shared_ptr<Store>& store) {
    using Function = std::decay_t<F>;
    check_callable<Function, std::decay_t<Source>>();
    Derived::template check_task<Function, std::decay_t<Source>>();
    derived().start(Function(std::forward<F>(f)), std::forward<Source>(source), store);
  }

  template <class Store>
  static auto wait_for(Store& store) -> typename Store::Value {
    store.wait(std::nullopt);
    if constexpr (std::is_void_v<typename Store::Value>) {
      static_cast<void>(store.value());
    } else {
      return std::move(store.value());
    }
  }

  template <class Source>
  ChunkRule chunk_rule(const std::optional<std::size_t>& chunksize, Source& source) const noexcept {
    ChunkRule rule{.chunksize = chunksize, .items = std::nullopt, .workers = core().size()};
    try {
      rule.items = source.size_hint();
    } catch (...) {
      // An input that cannot tell its size will throw again when it is pulled, in its place.
      rule.items = std::nullopt;
    }
    return rule;
  }

  template <class Options>
  void check(const Options& options) const {
    core().check_process();
    check_timeout(options.timeout);
    if constexpr (requires { options.chunksize; })
      check_size_option(options.chunksize, "chunksize");
    if constexpr (requires { options.buffersize; }) {
      check_size_option(options.buffersize, "buffersize");
    }
  }

  /// Of `map` and its kin.
  template <class Options>
  static Batch::Terms terms(Feeding feeding, const Options& options) noexcept {
    return {.feeding = feeding,
            .singly = options.chunksize == 1,
            .timeout = options.timeout,
            .retries = options.retries,
            .chunk_bytes = options.chunksize ? SIZE_MAX : submit::largest_automatic_payload};
  }

  /// A caller whose range workers may read until it leaves.
  struct Lender {
    Borrowing& borrowing;
    ~Lender() { borrowing.end(); }
  };

  template <class Store, Unpack unpack, class F, class Range>
  auto run_all(F&& f, Range&& range, const MapOptions& options) -> typename Store::Value {
    check(options);
    auto source = source_of<F, unpack, true>(std::forward<Range>(range));
    auto store = std::make_shared<Store>(terms(Feeding::by_caller, options),
                                         chunk_rule(options.chunksize, source));
    const Lender lender{store->borrowing};
    start(std::forward<F>(f), std::move(source), store);
    return wait_for(*store);
  }

  template <class R, Unpack unpack, class F, class Range>
  auto run_async(F&& f, Range&& range, MapAsyncOptions<R> options)
      -> AsyncResult<vector_or_void_t<R>> {
    check(options);
    auto source = source_of<F, unpack, false>(std::forward<Range>(range));
    auto store = std::make_shared<VectorStore<R>>(
        terms(Feeding::by_helper, options), chunk_rule(options.chunksize, source),
        Callbacks<vector_or_void_t<R>>{std::move(options.callback),
                                       std::move(options.error_callback)});
    start(std::forward<F>(f), std::move(source), store);
    return AsyncResult<vector_or_void_t<R>>(std::move(store));
  }

  template <class R, class F, class... A>
  std::shared_ptr<SingleStore<R>> start_apply(Feeding feeding, F&& f, const ApplyTerms& terms,
                                              Callbacks<R> callbacks, A&&... arguments) {
    check(terms);
    auto store = std::make_shared<SingleStore<R>>(
        Batch::Terms{.feeding = feeding, .timeout = terms.timeout, .retries = terms.retries},
        std::move(callbacks));
    start(std::forward<F>(f),
          ArgumentsSource<std::decay_t<F>, A&&...>(std::forward<A>(arguments)...), store);
    return store;
  }

  template <class R, bool outcomes, class F, class Range>
  auto stream(bool ordered, F&& f, Range&& range, const ImapOptions& options) {
    static_assert(!is_outcome<R>,
                  "libpool: a range of the function's own Outcomes cannot be told from one of "
                  "try_imap: return the value or throw, and use try_imap.");
    check(options);
    auto source = source_of<F, Unpack::no, false>(std::forward<Range>(range));
    const Cost cost{.small_results = StreamStore<R>::small_results,
                    .input_in_memory = decltype(source)::side_by_side};
    auto store =
        std::make_shared<StreamStore<R>>(Batch::Terms{.feeding = Feeding::by_helper,
                                                      .eager = true,
                                                      .singly = options.chunksize.value_or(1) == 1,
                                                      .timeout = options.timeout,
                                                      .retries = options.retries},
                                         window_for(options, derived().lookahead(), cost), ordered);
    start(std::forward<F>(f), std::move(source), store);
    using Yielded = std::conditional_t<outcomes, Outcome<R>, stored_t<R>>;
    return ResultRange<Yielded>(std::move(store));
  }
};

}  // namespace libpool::detail
