/// `libpool::partial`: a function with its first arguments given, for either pool.
///
/// Made in the parent. On `ProcessPool` it travels once with each chunk, and the worker calls it
/// for each item; a worker's death takes its copy along. On `ThreadPool` it is shared by all tasks.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include <libpool/detail/callable.hpp>

namespace libpool {

namespace detail {

/// What `partial` returns. Bound values come first in the call, always as `const Bound&`, so that
/// all items see the same.
template <class F, class... Bound>
struct Partial {
  F function;
  std::tuple<Bound...> bound;

  template <class... Rest>
    requires std::invocable<const F&, const Bound&..., Rest...>
  decltype(auto) operator()(Rest&&... rest) const {
    return call(function, bound, std::forward<Rest>(rest)...);
  }
  template <class... Rest>
    requires(std::invocable<F&, const Bound&..., Rest...> &&
             !std::invocable<const F&, const Bound&..., Rest...>)
  decltype(auto) operator()(Rest&&... rest) {
    return call(function, bound, std::forward<Rest>(rest)...);
  }

 private:
  template <class Callee, class... Rest>
  static decltype(auto) call(Callee& callee, const std::tuple<Bound...>& values, Rest&&... rest) {
    return std::apply(
        [&](const Bound&... value) -> decltype(auto) {
          return std::invoke(callee, value..., std::forward<Rest>(rest)...);
        },
        values);
  }
};

template <class T>
inline constexpr bool is_partial = false;
template <class F, class... Bound>
inline constexpr bool is_partial<Partial<F, Bound...>> = true;

template <class F, class Indices, class... Given>
struct PartialOf;
template <class F, std::size_t... I, class... Given>
struct PartialOf<F, std::index_sequence<I...>, Given...> {
  using type = Partial<F, passed_t<F, I, Given>...>;
};

}  // namespace detail

/// Like Python's `functools.partial`: a callable that calls `f(bound..., arguments...)`. The values
/// are kept by copy (rvalues are moved in), converted to `f`'s parameter types where these are
/// known; else text becomes `std::string`. `f` receives them as constants.
///
/// On `ProcessPool`, `f` and the values must be able to travel, and the values are serialised at
/// most once for each chunk. Throws what copying or converting a value throws. Calls are as
/// thread-safe as those of `f`.
template <class F, class... Given>
[[nodiscard]] auto partial(F&& f, Given&&... bound) {
  using Result = typename detail::PartialOf<std::decay_t<F>, std::index_sequence_for<Given...>,
                                            Given...>::type;
  using Values = decltype(Result::bound);
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    return Result{std::forward<F>(f),
                  Values(detail::convert_argument<std::tuple_element_t<I, Values>>(
                      std::forward<Given>(bound))...)};
  }(std::index_sequence_for<Given...>{});
}

}  // namespace libpool
