/// The members of aggregates, by Boost.PFR.
///
/// Compile time, and references at run time; in both processes. Neighbours: the classification of
/// types
/// (`traits.hpp`) and the dispatch (`values.hpp`).
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

#include <boost/pfr.hpp>

namespace libpool::codec {

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13

// GCC 12 stops with an internal error where PFR counts the members of an aggregate that has an
// array of class objects (a `std::array<std::string, 3>`). So they are counted here, by what braces
// take, and PFR's binding is called with the count.
namespace member_count {

namespace pfr = boost::pfr::detail;

template <class T, class Indices>
inline constexpr bool takes = false;
template <class T, std::size_t... I>
inline constexpr bool takes<T, std::index_sequence<I...>> =
    std::is_copy_constructible_v<T> ? requires { T{pfr::ubiq_lref_constructor{I}...}; }
                                    : requires { T{pfr::ubiq_rref_constructor{I}...}; };

/// The most that braces take. Fewer may be refused: of members that cannot be left out.
template <class T>
consteval std::size_t count() {
  constexpr std::size_t most = sizeof(T) < 100 ? sizeof(T) : 100;
  return []<std::size_t... N>(std::index_sequence<N...>) {
    std::size_t members = 0;
    ((takes<T, std::make_index_sequence<N + 1>> ? void(members = N + 1) : void()), ...);
    return members;
  }(std::make_index_sequence<most>{});
}

}  // namespace member_count

template <class T>
inline constexpr std::size_t field_count = member_count::count<std::remove_const_t<T>>();

/// Calls `use` with references to all members, in order.
template <class T, class Use>
decltype(auto) with_fields(T& value, Use&& use) {
  auto fields =
      boost::pfr::detail::tie_as_tuple(value, boost::pfr::detail::size_t_<field_count<T>>{});
  return [&]<std::size_t... I>(std::index_sequence<I...>) -> decltype(auto) {
    return use(boost::pfr::detail::sequence_tuple::get<I>(fields)...);
  }(std::make_index_sequence<field_count<T>>{});
}

#else

template <class T>
inline constexpr std::size_t field_count = boost::pfr::tuple_size_v<T>;

/// Calls `use` with references to all members, in order.
template <class T, class Use>
decltype(auto) with_fields(T& value, Use&& use) {
  return std::apply(std::forward<Use>(use), boost::pfr::structure_tie(value));
}

#endif

/// `Template<Member...>` of an aggregate's members.
template <class T, template <class...> class Template>
using fields_as = typename decltype(with_fields(std::declval<T&>(), [](auto&... field) {
  return std::type_identity<Template<std::remove_reference_t<decltype(field)>...>>{};
}))::type;

}  // namespace libpool::codec
