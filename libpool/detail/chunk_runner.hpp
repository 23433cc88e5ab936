/// The typed half of a chunk's run: decode the items, call the user's function, encode its results.
///
/// Runs in a worker, between the task runner, which implements `ChunkContext`, and the function; a
/// function token names it. A death here is blamed on the item that the context was told of last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <libpool/codec/codec.hpp>
#include <libpool/codec/type_name.hpp>
#include <libpool/detail/callable.hpp>
#include <libpool/detail/chunk_context.hpp>
#include <libpool/detail/error_types.hpp>
#include <libpool/detail/forced_unwind.hpp>
#include <libpool/detail/task_callable.hpp>

namespace libpool::detail {

/// The view that parameter I of F shows of an argument that travels as A, decoded in place; void if
/// it is no such parameter.
template <class A, class Parameter>
struct ViewOf {
  using type = void;
};
template <class T>
  requires(codec::PayloadView<std::span<const T>> && !std::is_same_v<T, bool>)
struct ViewOf<std::vector<T>, std::span<const T>> {
  using type = std::span<const T>;
};
template <class T>
  requires codec::PayloadView<std::span<const T>>
struct ViewOf<Buffer<T>, std::span<const T>> {
  using type = std::span<const T>;
};
template <class Char>
struct ViewOf<std::basic_string<Char>, std::basic_string_view<Char>> {
  using type = std::basic_string_view<Char>;
};

/// One argument in a worker: decoded when made, given to the function as it wants it.
template <class A, class Received, class View>
class HeldArgument {
 public:
  explicit HeldArgument(codec::PayloadReader& in) : value_(codec::decode<A>(in)) {}
  Received give() { return static_cast<Received>(value_); }

 private:
  A value_;
};
template <class A, class Received, class View>
  requires codec::PayloadView<View>
class HeldArgument<A, Received, View> {
 public:
  explicit HeldArgument(codec::PayloadReader& in) : view_(codec::decode_view<View>(in)) {}
  View give() { return view_; }

 private:
  View view_;
};

template <class F, std::size_t I, class Arguments, class Received>
struct HeldAt {
  using A = std::tuple_element_t<I, Arguments>;
  template <class Parameters>
  struct Parameter {
    using type = void;
  };
  template <class... P>
    requires(I < sizeof...(P))
  struct Parameter<std::tuple<P...>> {
    using type = std::remove_cvref_t<std::tuple_element_t<I, std::tuple<P...>>>;
  };
  using View = typename ViewOf<A, typename Parameter<callable_parameters<F>>::type>::type;
  using type = HeldArgument<A, std::tuple_element_t<I, Received>, View>;
};

/// Decodes the arguments from left to right, each where it stays until the call is over, then
/// calls.
template <class Call, class... Held>
void hold_and_call(codec::PayloadReader&, const Call& call, codec::Types<>, Held&... held) {
  call(held...);
}
template <class Call, class First, class... Rest, class... Held>
void hold_and_call(codec::PayloadReader& in, const Call& call, codec::Types<First, Rest...>,
                   Held&... held) {
  First first(in);
  hold_and_call(in, call, codec::Types<Rest...>{}, held..., first);
}

/// Decodes, calls, encodes. What it throws is the item's outcome.
template <class F, class Arguments, class Received>
void run_item(typename TaskCall<F, Received>::Callee f, ChunkContext& context) {
  codec::PayloadReader in = context.item();
  const auto call = [&](auto&... argument) {
    if (in.remaining() != 0) {
      throw SerializationError("bytes follow the encoded arguments", codec::type_name<Arguments>());
    }
    context.begin_run();
    using Result = typename TaskCall<F, Received>::Result;
    if constexpr (std::is_void_v<Result> || std::is_same_v<std::decay_t<Result>, std::monostate>) {
      static_cast<void>(std::invoke(f, argument.give()...));
      (void)context.result();
    } else {
      const Result result = std::invoke(f, argument.give()...);
      codec::encode(context.result(), result);
    }
    context.publish();
  };
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    hold_and_call(in, call, codec::Types<typename HeldAt<F, I, Arguments, Received>::type...>{});
  }(std::make_index_sequence<std::tuple_size_v<Arguments>>{});
}

/// Bytes of each item where all arguments are copied as bits, side by side; else zero.
template <class Arguments>
inline constexpr std::uint32_t item_stride = 0;
template <class... A>
  requires(sizeof...(A) > 0 && (codec::Bits<A> && ...) &&
           (sizeof(A) + ...) <= std::numeric_limits<std::uint32_t>::max())
inline constexpr std::uint32_t item_stride<std::tuple<A...>> =
    static_cast<std::uint32_t>((sizeof(A) + ...));

/// Bytes of each result where all are copied as bits and are small enough for runs; else nothing.
template <class Result>
inline constexpr std::optional<std::uint32_t> run_result_size = std::nullopt;
template <codec::Bits Result>
  requires(!std::is_same_v<Result, std::monostate> && sizeof(Result) <= ring::largest_run_result)
inline constexpr std::optional<std::uint32_t> run_result_size<Result> =
    static_cast<std::uint32_t>(sizeof(Result));

/// A function whose arguments and result are all copied as bits.
template <class F, class Arguments, class Received>
concept RunsInBits = item_stride<Arguments> != 0 &&
                     run_result_size<typename TaskCall<F, Received>::Result>.has_value();

template <class Tuple>
inline constexpr codec::Types<> types_of{};
template <class... T>
inline constexpr codec::Types<T...> types_of<std::tuple<T...>>{};

/// Calls with an encoded item.
template <class Callee, class... A, class... Received>
decltype(auto) call_with_bits(Callee f, codec::PayloadReader in, codec::Types<A...>,
                              codec::Types<Received...>) {
  std::tuple<A...> arguments{codec::decode<A>(in)...};  // braces: from left to right
  return std::apply(
      [&](A&... argument) -> decltype(auto) {
        return std::invoke(f, static_cast<Received>(argument)...);
      },
      arguments);
}

/// Chunks of one item each may travel as a bundle: each item gets the function as it was sent,
/// which costs next to nothing.
template <class F, class Arguments, class Received>
inline constexpr bool bundles = RunsInBits<F, Arguments, Received> &&
                                (callable_kind<F>() == CallableKind::pointer ||
                                 (callable_kind<F>() == CallableKind::stateless &&
                                  std::is_nothrow_default_constructible_v<F>) ||
                                 (callable_kind<F>() == CallableKind::bytes && sizeof(F) <= 64));

/// The items of one chunk, in runs. What an item throws ends its run, and the next one goes on.
template <class F, class Arguments, class Received, bool bundled>
LIBPOOL_CATCHES_FORCED_UNWIND void run_in_runs(std::optional<F>& f, ChunkContext& context) {
  using Call = TaskCall<F, Received>;
  using Result = typename Call::Result;
  [[maybe_unused]] bool used = false;
  codec::PayloadReader in = context.items();
  std::uint32_t done = 0;
  while (true) {
    const ChunkContext::Run run = context.next_run(done, sizeof(Result));
    if (run.items == 0) return;
    std::byte* place = run.results;
    done = 0;
    try {
      for (; done != run.items; ++done, place += sizeof(Result)) {
        if constexpr (bundled) {
          if (!context.take()) break;
        }
        context.begin_in_run(run.item + done);
        if constexpr (bundled && !std::is_pointer_v<F>) {
          if (std::exchange(used, true)) {
            codec::PayloadReader call = context.call();
            f.emplace(decode_callable<F>(call, context.modules()));
          }
        }
        const Result result = call_with_bits<typename Call::Callee>(
            *f, codec::PayloadReader(in.take(item_stride<Arguments>)), types_of<Arguments>,
            types_of<Received>);
        std::memcpy(place, &result, sizeof result);
      }
    } catch (abi::__forced_unwind&) {
      context.leave_thread();
    } catch (...) {
      context.fail_in_run(done, std::current_exception());
      done = 0;
    }
  }
}

/// Runs the items of one chunk; the function that `TypedChunkCodec::runner` names. Never throws.
template <class F, class Arguments, class Received>
LIBPOOL_CATCHES_FORCED_UNWIND void run_chunk(ChunkContext& context) {
  std::optional<F> f;
  try {
    codec::PayloadReader in = context.call();
    f.emplace(decode_callable<F>(in, context.modules()));
  } catch (abi::__forced_unwind&) {
    context.leave_thread();
  } catch (...) {
    context.fail_all(std::current_exception());
    return;
  }
  if constexpr (RunsInBits<F, Arguments, Received>) {
    if constexpr (bundles<F, Arguments, Received>) {
      if (context.bundled()) return run_in_runs<F, Arguments, Received, true>(f, context);
    }
    if (context.in_runs()) return run_in_runs<F, Arguments, Received, false>(f, context);
  }
  while (context.next()) {
    try {
      run_item<F, Arguments, Received>(*f, context);
    } catch (abi::__forced_unwind&) {
      context.leave_thread();
    } catch (...) {
      context.fail(std::current_exception());
    }
  }
}

}  // namespace libpool::detail
