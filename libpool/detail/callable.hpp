/// What can be known of a task's function at compile time: its parameters, the types in which its
/// arguments travel, how it receives them, and what it returns.
///
/// Runs in no process: types and one conversion, used by the inputs of both pools and by the
/// process codec.
#pragma once

#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <initializer_list>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <libpool/buffer.hpp>
#include <libpool/detail/forced_unwind.hpp>

namespace libpool::detail {

template <class F, class... Bound>
struct Partial;  // partial.hpp

// -- parameters ----------------------------------------------------------------------------------

/// `type` is `std::tuple<P...>`, the parameters of a call operator or a function; `constant` tells
/// whether an object of the type is called as const.
template <class Signature>
struct SignatureParameters {
  using type = void;
};
template <class R, class... P>
struct SignatureParameters<R (*)(P...)> {
  using type = std::tuple<P...>;
};
template <class R, class... P>
struct SignatureParameters<R (*)(P...) noexcept> : SignatureParameters<R (*)(P...)> {};
template <class R, class C, class... P>
struct SignatureParameters<R (C::*)(P...)> : SignatureParameters<R (*)(P...)> {};
template <class R, class C, class... P>
struct SignatureParameters<R (C::*)(P...) const> : SignatureParameters<R (*)(P...)> {};
template <class R, class C, class... P>
struct SignatureParameters<R (C::*)(P...)&> : SignatureParameters<R (*)(P...)> {};
template <class R, class C, class... P>
struct SignatureParameters<R (C::*)(P...) const&> : SignatureParameters<R (*)(P...)> {};
template <class R, class C, class... P>
struct SignatureParameters<R (C::*)(P...) noexcept> : SignatureParameters<R (*)(P...)> {};
template <class R, class C, class... P>
struct SignatureParameters<R (C::*)(P...) const noexcept> : SignatureParameters<R (*)(P...)> {};
template <class R, class C, class... P>
struct SignatureParameters<R (C::*)(P...) & noexcept> : SignatureParameters<R (*)(P...)> {};
template <class R, class C, class... P>
struct SignatureParameters<R (C::*)(P...) const & noexcept> : SignatureParameters<R (*)(P...)> {};

template <class F>
struct CallableParameters : SignatureParameters<F> {};
template <class F>
  requires std::is_class_v<F> && requires { &F::operator(); }
struct CallableParameters<F> : SignatureParameters<decltype(&F::operator())> {};
// The class of a pointer to member is its hidden first parameter, which `std::invoke` also takes as
// a pointer: nothing is known of what travels.
template <class M, class C>
struct CallableParameters<M C::*> {
  using type = void;
};

/// `std::tuple` without its first `count` types; `void` for `void`.
template <std::size_t count, class Tuple>
struct DropTypes {
  using type = Tuple;
};
template <std::size_t count, class First, class... Rest>
  requires(count > 0)
struct DropTypes<count, std::tuple<First, Rest...>> : DropTypes<count - 1, std::tuple<Rest...>> {};

template <class F, class... Bound>
struct CallableParameters<Partial<F, Bound...>>
    : DropTypes<sizeof...(Bound), typename CallableParameters<std::decay_t<F>>::type> {};

/// The parameters of F as `std::tuple<P...>`: of a function pointer, or of a call operator that is
/// neither overloaded nor a template. `void` where they cannot be known.
template <class F>
using callable_parameters = typename CallableParameters<std::decay_t<F>>::type;

// -- the types that travel -----------------------------------------------------------------------

template <class T>
concept Character = std::same_as<T, char> || std::same_as<T, wchar_t> || std::same_as<T, char8_t> ||
                    std::same_as<T, char16_t> || std::same_as<T, char32_t>;

/// The owner of what a view parameter shows; any other type is its own.
template <class T>
struct Owner {
  using type = T;
};
template <class C, class Traits>
struct Owner<std::basic_string_view<C, Traits>> {
  using type = std::basic_string<C, Traits>;
};
/// A parameter `std::span<const T>`: its elements travel as a vector.
template <class T>
struct Owner<std::span<const T>> {
  using type = std::vector<T>;
};

/// The owner that travels for a parameter when the argument is an `Arg`: a buffer is one already.
template <class Parameter, class Arg>
struct OwnerFor : Owner<Parameter> {};
template <class T>
struct OwnerFor<std::span<const T>, Buffer<T>> {
  using type = Buffer<T>;
};

/// An argument of an unknown parameter: decayed, and text as a string that owns its characters.
template <class T>
struct OwnedText : std::conditional<true, T, void> {};
template <Character C>
struct OwnedText<const C*> {
  using type = std::basic_string<C>;
};
template <Character C>
struct OwnedText<C*> {
  using type = std::basic_string<C>;
};
template <class C, class Traits>
struct OwnedText<std::basic_string_view<C, Traits>> {
  using type = std::basic_string<C, Traits>;
};

template <class From, class To>
concept RangeOf =
    std::ranges::input_range<From> &&
    std::constructible_from<To, std::ranges::iterator_t<From>, std::ranges::sentinel_t<From>>;

/// Whether an argument becomes a `To`: as in a call, or, for an owner that stands for a view, by a
/// copy.
template <class Arg, class To, bool stands_for_view>
concept Converts = std::is_convertible_v<Arg, To> ||
                   (stands_for_view && (std::constructible_from<To, Arg> || RangeOf<Arg, To>));

template <class Parameters, std::size_t I, class Arg>
struct Passed : OwnedText<std::decay_t<Arg>> {
  static constexpr bool converts = false;
};

template <class... P, std::size_t I, class Arg>
  requires(I < sizeof...(P))
struct Passed<std::tuple<P...>, I, Arg> {
  using Parameter = std::decay_t<std::tuple_element_t<I, std::tuple<P...>>>;
  using Value = typename OwnerFor<Parameter, std::decay_t<Arg>>::type;
  // A derived object must not be sliced to a parameter `const Base&`: it travels as what it is.
  static constexpr bool converts = !std::same_as<Value, std::decay_t<Arg>> &&
                                   !std::is_base_of_v<Value, std::decay_t<Arg>> &&
                                   Converts<Arg, Value, !std::same_as<Parameter, Value>>;
  using type = std::conditional_t<converts, Value, std::decay_t<Arg>>;
};

/// The decayed type in which argument I of F, given as `Arg` (a reference or value type), travels:
/// that of the parameter where it is known (the owner for a `std::string_view` or `std::span<const
/// T>`), else that of the argument, with text as `std::string`.
template <class F, std::size_t I, class Arg>
using passed_t = typename Passed<callable_parameters<F>, I, Arg>::type;

/// The argument as a `To`: itself if it is one, else converted. Throws what the conversion throws.
template <class To, class From>
constexpr decltype(auto) convert_argument(From&& from) {
  if constexpr (std::same_as<std::remove_cvref_t<From>, To>) {
    return std::forward<From>(from);
  } else if constexpr (std::is_convertible_v<From, To> || std::constructible_from<To, From>) {
    return static_cast<To>(std::forward<From>(from));
  } else {
    return To(std::ranges::begin(from), std::ranges::end(from));
  }
}

/// Passes on what a conversion throws.
struct Rethrow {
  void operator()(const std::exception_ptr& error) const { std::rethrow_exception(error); }
};

/// Calls `give`, which converts an element to arguments and passes them on to what throws nothing.
template <class Give, class Fail>
LIBPOOL_CATCHES_FORCED_UNWIND void convert_and_give(Give&& give, Fail&& fail) {
  try {
    give();
  } catch (abi::__forced_unwind&) {
    throw;
  } catch (...) {
    fail(std::current_exception());
  }
}

// -- calls and results ---------------------------------------------------------------------------

/// How F receives argument I, given as `Arg`: what is moved, and what its conversion to F's
/// parameter makes, as an rvalue.
template <class F, std::size_t I, class Arg, bool moves>
using received_t = std::conditional_t<moves || Passed<callable_parameters<F>, I, Arg>::converts,
                                      passed_t<F, I, Arg>&&, const passed_t<F, I, Arg>&>;

/// The result of a call that does not compile; `check_callable` says why.
struct NotCallable {};

template <class F, class Received>
struct TaskCall;
template <class F, class... R>
struct TaskCall<F, std::tuple<R...>> {
  /// A function that can be called as const is, and may be shared by threads; another is copied for
  /// each chunk, whose items share its state.
  static constexpr bool constant = std::is_invocable_v<const F&, R...>;
  static constexpr bool valid = constant || std::is_invocable_v<F&, R...>;
  using Callee = std::conditional_t<constant, const F&, F&>;
  using Raw = typename std::conditional_t<valid, std::invoke_result<Callee, R...>,
                                          std::type_identity<NotCallable>>::type;
  using Result = std::decay_t<Raw>;
};

/// The lvalue as which F is called: `const F&` where that compiles, else `F&`.
template <class F, class Source>
using callee_t = typename TaskCall<F, typename Source::Received>::Callee;

/// The decayed result of F for the items of `Source`; `NotCallable` if the call does not compile.
template <class F, class Source>
using source_result_t = typename TaskCall<F, typename Source::Received>::Result;

template <class T>
inline constexpr bool is_reference_wrapper = false;
template <class T>
inline constexpr bool is_reference_wrapper<std::reference_wrapper<T>> = true;

template <class T>
inline constexpr bool is_initializer_list = false;
template <class T>
inline constexpr bool is_initializer_list<std::initializer_list<T>> = true;

/// Refuses, with a message, what no pool can run.
template <class F, class Source>
constexpr void check_callable() {
  using Call = TaskCall<F, typename Source::Received>;
  static_assert(
      Call::valid,
      "libpool: the function cannot be called with these items. It receives const T& from "
      "lvalues and views, and T&& from rvalues: take the parameter by value or as const T& "
      "(a parameter T& is refused), and use starmap to unpack tuples.");
  if constexpr (Call::valid) {
    static_assert(
        !std::is_reference_v<typename Call::Raw>,
        "libpool: the function returns a reference, which would refer into a finished task: "
        "return a value (for a lambda, drop the '-> auto&').");
    static_assert(!std::is_pointer_v<typename Call::Result>,
                  "libpool: the function returns a raw pointer, whose target may be gone or lie in "
                  "another process: return the value, or a std::unique_ptr.");
    static_assert(!std::ranges::view<typename Call::Result> &&
                      !is_reference_wrapper<typename Call::Result> &&
                      !is_initializer_list<typename Call::Result>,
                  "libpool: the function returns a view of what may be gone or lies in another "
                  "process: return an owner, such as std::string or std::vector.");
  }
}

}  // namespace libpool::detail
