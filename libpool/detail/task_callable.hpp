/// How a task's function travels to a worker.
///
/// Runs in the parent (out) and in a worker (in), once for each chunk. Neighbours: the chunk codec
/// and the chunk runner (`process_task.hpp`). A worker's death here is one before its chunk's first
/// item.
#pragma once

#include <cstdint>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

#include <libpool/codec/codec.hpp>
#include <libpool/codec/function_token.hpp>
#include <libpool/codec/type_name.hpp>
#include <libpool/detail/error_types.hpp>
#include <libpool/partial.hpp>

namespace libpool::detail {

/// By the first that fits.
enum class CallableKind : std::uint8_t {
  partial,     ///< its function, then the bound values
  pointer,     ///< a function token
  serialized,  ///< a class with a `serialize`
  stateless,   ///< nothing: the worker makes one
  bytes,       ///< trivially copyable and of standard layout: as it lies
  refused,
};

template <class F>
consteval CallableKind callable_kind() {
  if constexpr (is_partial<F>) {
    return CallableKind::partial;
  } else if constexpr (std::is_pointer_v<F> && std::is_function_v<std::remove_pointer_t<F>>) {
    return CallableKind::pointer;
  } else if constexpr (codec::OwnSerialize<F>) {
    return CallableKind::serialized;
  } else if constexpr (std::is_empty_v<F> && std::is_default_constructible_v<F>) {
    return CallableKind::stateless;
  } else if constexpr (std::is_class_v<F> && std::is_trivially_copyable_v<F> &&
                       std::is_standard_layout_v<F>) {
    return CallableKind::bytes;
  } else {
    return CallableKind::refused;
  }
}

/// Throws `PoolError` if it holds a function that workers do not have.
template <class F>
void check_loaded(const F& f, const codec::ModuleMap& modules) {
  if constexpr (callable_kind<F>() == CallableKind::partial) {
    check_loaded(f.function, modules);
  } else if constexpr (callable_kind<F>() == CallableKind::pointer) {
    (void)modules.token_of(reinterpret_cast<const void*>(f));
  }
}

/// Throws `SerializationError`, and `PoolError` as `check_loaded` does.
template <class F>
void encode_callable(codec::PayloadWriter& out, const F& f, const codec::ModuleMap& modules) {
  constexpr CallableKind kind = callable_kind<F>();
  if constexpr (kind == CallableKind::partial) {
    encode_callable(out, f.function, modules);
    std::apply([&](const auto&... value) { (codec::encode(out, value), ...); }, f.bound);
  } else if constexpr (kind == CallableKind::pointer) {
    codec::encode(out, modules.token_of(reinterpret_cast<const void*>(f)));
  } else if constexpr (kind == CallableKind::serialized) {
    codec::encode(out, f);
  } else if constexpr (kind == CallableKind::bytes) {
    out.write(static_cast<const void*>(std::addressof(f)), sizeof f);
  }
}

template <class F>
[[nodiscard]] F decode_callable(codec::PayloadReader& in, const codec::ModuleMap& modules);

template <class P>
struct PartialDecoder;
template <class F, class... Bound>
struct PartialDecoder<Partial<F, Bound...>> {
  static Partial<F, Bound...> decode(codec::PayloadReader& in, const codec::ModuleMap& modules) {
    // Braces: the function is decoded first, then the values in order.
    return {decode_callable<F>(in, modules), std::tuple<Bound...>{codec::decode<Bound>(in)...}};
  }
};

/// Throws `SerializationError`.
template <class F>
F decode_callable(codec::PayloadReader& in, const codec::ModuleMap& modules) {
  constexpr CallableKind kind = callable_kind<F>();
  if constexpr (kind == CallableKind::partial) {
    return PartialDecoder<F>::decode(in, modules);
  } else if constexpr (kind == CallableKind::pointer) {
    const void* function = modules.address_of(codec::decode<codec::FunctionToken>(in));
    if (function == nullptr) {
      throw SerializationError("the function is in no module of this process",
                               codec::type_name<F>());
    }
    return reinterpret_cast<F>(const_cast<void*>(function));
  } else if constexpr (kind == CallableKind::serialized) {
    return codec::decode<F>(in);
  } else if constexpr (kind == CallableKind::stateless) {
    return F{};
  } else {
    return codec::load_copied<F>(in);
  }
}

}  // namespace libpool::detail
