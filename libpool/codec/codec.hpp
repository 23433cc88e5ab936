/// The entry points of the codec: values into payloads and back, without streams, locales or
/// headers.
///
/// Runs in the parent (arguments out, results in) and in workers (the reverse). Neighbours: the
/// chunk codec and the chunk runner (`detail/process_task.hpp`). A death here leaves an unpublished
/// payload.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <typeinfo>

#include <libpool/codec/coder.hpp>
#include <libpool/codec/payload.hpp>
#include <libpool/codec/std_containers.hpp>
#include <libpool/codec/std_values.hpp>
#include <libpool/codec/traits.hpp>
#include <libpool/codec/values.hpp>
#include <libpool/detail/error_types.hpp>
#include <libpool/detail/export.hpp>
#include <libpool/detail/forced_unwind.hpp>

namespace libpool::codec {

/// Types whose values can travel between processes: those that the public contract lists, and all
/// that is made of them. A class's own `serialize` is believed without looking into it.
template <class T>
concept Serializable = is_serializable<T>();

/// Throws the exception being handled as a `SerializationError` that names the type; one that is a
/// `SerializationError` already stays as it is.
[[noreturn]] LIBPOOL_EXPORT void throw_encoding_failed(const std::type_info& type);
[[noreturn]] LIBPOOL_EXPORT void throw_decoding_failed(const std::type_info& type);

/// Appends the encoded value. Throws `SerializationError` for whatever a `serialize` or the writer
/// throws; what was written stays, for the caller to take back. A forced unwind of the thread
/// passes through.
template <class T>
LIBPOOL_CATCHES_FORCED_UNWIND void encode(PayloadWriter& out, const T& value) {
  if constexpr (Bits<T>) {
    out.write(static_cast<const void*>(std::addressof(value)), sizeof value);
  } else {
    try {
      Encoder encoder(out);
      save(encoder, value);
    } catch (abi::__forced_unwind&) {
      throw;
    } catch (...) {
      throw_encoding_failed(typeid(T));
    }
  }
}

template <class T>
[[nodiscard]] LIBPOOL_CATCHES_FORCED_UNWIND T decode_checked(PayloadReader& in) {
  try {
    if constexpr (Bits<T> && std::is_default_constructible_v<T>) {
      T value{};
      load_bits(in, std::addressof(value), 1);
      return value;
    } else {
      Decoder decoder(in);
      return load<T>(decoder);
    }
  } catch (abi::__forced_unwind&) {
    throw;
  } catch (...) {
    throw_decoding_failed(typeid(T));
  }
}

/// Takes the value that `encode` wrote there. Throws `SerializationError` if the payload is too
/// short or is no such value, and for whatever a `serialize` or a constructor throws; the reader is
/// then anywhere. No byte is read twice, and no more memory is reserved than the payload could
/// fill.
template <class T>
[[nodiscard, gnu::always_inline]] inline T decode(PayloadReader& in) {
  // Short, and in the loop over the items even where the compiler has inlined enough already.
  if constexpr (Bits<T> && std::is_trivially_default_constructible_v<T> && !is_made_of_bool<T>) {
    if (in.remaining() >= sizeof(T)) [[likely]] {
      T value;
      in.read(static_cast<void*>(std::addressof(value)), sizeof value);
      return value;
    }
  }
  return decode_checked<T>(in);
}

template <class View>
struct IsView : std::false_type {};
template <class T>
struct IsView<std::span<const T>> : std::bool_constant<Bits<T> && (alignof(T) <= 16)> {
  using Element = T;
};
template <class Char, class Traits>
struct IsView<std::basic_string_view<Char, Traits>> : std::bool_constant<Bits<Char>> {
  using Element = Char;
};

/// `std::span<const T>` and `std::string_view`, which can look at an encoded `vector<T>` or
/// `string` in place.
template <class View>
concept PayloadView = IsView<View>::value;

/// Like `decode`, of a vector or a string, but the result refers to the payload and lives as long.
/// The payload must begin at a multiple of 16 and must not change meanwhile.
template <PayloadView View>
[[nodiscard]] View decode_view(PayloadReader& in) {
  using T = typename IsView<View>::Element;
  try {
    Decoder decoder(in);
    const std::size_t count = open_block<T>(decoder);
    const std::byte* block = in.take(count * sizeof(T)).data();
    check_bits<T>(block, count * sizeof(T));
    if (reinterpret_cast<std::uintptr_t>(block) % alignof(T) != 0) {
      throw CorruptPayload("a block is not aligned");
    }
    return View(reinterpret_cast<const T*>(block), count);
  } catch (...) {
    throw_decoding_failed(typeid(View));
  }
}

}  // namespace libpool::codec
