/// The dispatch: any value into a payload and back, by the class of its type.
///
/// Runs in both processes, inside an encode or a decode. Neighbours: the entry points (`codec.hpp`)
/// before it, the adapters of the standard types and the archives behind it, which all call back in
/// here for the values inside their values. A death here leaves an unpublished payload.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <boost/serialization/array_wrapper.hpp>
#include <boost/serialization/collection_size_type.hpp>
#include <boost/serialization/item_version_type.hpp>
#include <boost/serialization/library_version_type.hpp>
#include <boost/serialization/nvp.hpp>
#include <boost/serialization/version.hpp>

#include <libpool/codec/archive.hpp>
#include <libpool/codec/coder.hpp>
#include <libpool/codec/traits.hpp>

namespace libpool::codec {

/// Encodes a value.
template <class T>
void save(Encoder& encoder, const T& value);

/// Decodes into a value that exists; it keeps its address.
template <class T>
void load_into(Decoder& decoder, T& value);

/// Decodes a value, also of a type that has no default constructor.
template <class T>
[[nodiscard]] T load(Decoder& decoder);

// -- bits ----------------------------------------------------------------------------------------

/// Blocks begin at a multiple of this, counted from the start of the payload, so that they can be
/// viewed in place where payloads begin at a multiple of 16.
template <class T>
inline constexpr std::size_t block_alignment = std::min<std::size_t>(alignof(T), 16);

template <class T>
inline constexpr bool is_made_of_bool = std::is_same_v<T, bool>;
template <class T, std::size_t N>
inline constexpr bool is_made_of_bool<T[N]> = is_made_of_bool<T>;
template <class T, std::size_t N>
inline constexpr bool is_made_of_bool<std::array<T, N>> = is_made_of_bool<T>;

/// Any byte but 0 and 1 in a `bool` is undefined behaviour, so none becomes one.
template <class T>
void check_bits(const std::byte* bytes, std::size_t count) {
  if constexpr (is_made_of_bool<T>) {
    if (std::any_of(bytes, bytes + count, [](std::byte byte) { return byte > std::byte{1}; })) {
      throw CorruptPayload("a bool is neither false nor true");
    }
  }
}

/// Copies `count` values, then checks the copy: the payload is read once.
template <class T>
void load_bits(PayloadReader& in, T* values, std::size_t count) {
  if (count == 0) return;
  in.read(static_cast<void*>(values), count * sizeof(T));
  check_bits<T>(reinterpret_cast<const std::byte*>(values), count * sizeof(T));
}

/// Bits of a type without a default constructor, such as a closure.
template <class T>
T load_copied(PayloadReader& in) {
  alignas(T) std::byte storage[sizeof(T)];
  in.read(storage, sizeof storage);
  check_bits<T>(storage, sizeof storage);
  return std::move(*std::launder(reinterpret_cast<T*>(storage)));
}

// -- classes with a serialize of their own -------------------------------------------------------

/// Has to be made by `load_construct_data`: it has no default constructor, or a private one.
template <class T>
concept ConstructedByBoost = OwnSerialize<T> && !std::is_default_constructible_v<T>;

template <class T>
void save_class(Encoder& encoder, const T& value) {
  boost::archive::detail::save_non_pointer_type<OutputArchive>::invoke(encoder.archive(), value);
}

template <class T>
void load_class(Decoder& decoder, T& value) {
  boost::archive::detail::load_non_pointer_type<InputArchive>::invoke(decoder.archive(), value);
}

/// Storage for a value that `load_construct_data` makes.
template <class T>
class Constructed {
 public:
  explicit Constructed(InputArchive& archive) {
    boost::serialization::load_construct_data_adl(archive, address(),
                                                  boost::serialization::version<T>::value);
  }
  Constructed(const Constructed&) = delete;
  Constructed& operator=(const Constructed&) = delete;
  ~Constructed() { std::destroy_at(address()); }

  [[nodiscard]] T* address() noexcept { return reinterpret_cast<T*>(storage_); }

 private:
  alignas(T) std::byte storage_[sizeof(T)];
};

// -- the dispatch --------------------------------------------------------------------------------

template <class T>
void save(Encoder& encoder, const T& value) {
  if constexpr (Bits<T>) {
    encoder.out.write(static_cast<const void*>(std::addressof(value)), sizeof value);
  } else {
    const Depth depth = encoder.deeper();
    if constexpr (Adapted<T>) {
      Adapter<T>::save(encoder, value);
    } else if constexpr (OwnSerialize<T>) {
      if constexpr (ConstructedByBoost<T>) {
        boost::serialization::save_construct_data_adl(encoder.archive(), std::addressof(value),
                                                      boost::serialization::version<T>::value);
      }
      save_class(encoder, value);
    } else if constexpr (std::is_array_v<T>) {
      for (const auto& element : value) save(encoder, element);
    } else if constexpr (Aggregate<T>) {
      with_fields(value, [&](const auto&... field) { (save(encoder, field), ...); });
    } else {
      static_assert(
          is_serializable<T>(),
          "libpool: this type cannot travel between processes: give it a Boost.Serialization "
          "`serialize`, or make it trivially copyable or an aggregate of types that can; "
          "pointers, references and views cannot");
    }
  }
}

template <class T, class... Field>
T load_fields(Decoder& decoder, Types<Field...>) {
  return T{load<Field>(decoder)...};  // braces: in order
}

template <class T>
void load_into(Decoder& decoder, T& value) {
  if constexpr (Bits<T>) {
    load_bits(decoder.in, std::addressof(value), 1);
  } else if constexpr (ConstructedByBoost<T>) {
    T made = load<T>(decoder);
    value = std::move(made);
    decoder.moved(std::addressof(value), std::addressof(made));
  } else {
    const Depth depth = decoder.deeper();
    if constexpr (Adapted<T>) {
      if constexpr (requires { Adapter<T>::load_into(decoder, value); }) {
        Adapter<T>::load_into(decoder, value);
      } else {
        value = Adapter<T>::load(decoder);
      }
    } else if constexpr (OwnSerialize<T>) {
      load_class(decoder, value);
    } else if constexpr (std::is_array_v<T>) {
      for (auto& element : value) load_into(decoder, element);
    } else if constexpr (Aggregate<T>) {
      with_fields(value, [&](auto&... field) { (load_into(decoder, field), ...); });
    } else {
      static_assert(is_serializable<T>(), "libpool: this type cannot travel between processes");
    }
  }
}

template <class T>
T load(Decoder& decoder) {
  if constexpr (ConstructedByBoost<T>) {
    const Depth depth = decoder.deeper();
    Constructed<T> made(decoder.archive());
    load_class(decoder, *made.address());
    T value = std::move(*made.address());
    decoder.moved(std::addressof(value), made.address());
    return value;
  } else if constexpr (std::is_default_constructible_v<T>) {
    T value{};
    load_into(decoder, value);
    return value;
  } else if constexpr (Bits<T>) {
    return load_copied<T>(decoder.in);
  } else {
    const Depth depth = decoder.deeper();
    if constexpr (Adapted<T>) {
      return Adapter<T>::load(decoder);
    } else if constexpr (Aggregate<T>) {
      return load_fields<T>(decoder, Fields<T>{});
    } else {
      static_assert(is_serializable<T>(), "libpool: this type cannot travel between processes");
    }
  }
}

/// Decodes a value that is then moved to its place: a key of a container.
template <class T, class Place>
void load_and_place(Decoder& decoder, Place&& place) {
  T value = load<T>(decoder);
  const T* placed = place(std::move(value));
  if constexpr (OwnSerialize<T>) decoder.moved(placed, std::addressof(value));
}

// -- what a user's serialize gives to `ar` -------------------------------------------------------

template <class T>
inline constexpr bool is_named = false;
template <class T>
inline constexpr bool is_named<boost::serialization::nvp<T>> = true;  // a name, for XML archives

template <class T>
void OutputArchive::save_override(const T& value) {
  if constexpr (is_named<T>) {
    *this << value.const_value();
  } else if constexpr (std::is_pointer_v<T>) {
    boost::archive::detail::save_pointer_type<OutputArchive>::invoke(*this, value);
  } else if constexpr (OwnSerialize<T>) {
    const Depth depth = encoder_.deeper();
    save_class(encoder_, value);
  } else {
    save(encoder_, value);
  }
}

template <class T>
void InputArchive::load_override(T& value) {
  using Value = std::remove_const_t<T>;  // wrappers come as constants
  if constexpr (is_named<Value>) {
    *this >> value.value();
  } else if constexpr (std::is_pointer_v<Value>) {
    boost::archive::detail::load_pointer_type<InputArchive>::invoke(*this, value);
    deliver_raw();
  } else if constexpr (OwnSerialize<Value>) {
    const Depth depth = decoder_.deeper();
    load_class(decoder_, const_cast<Value&>(value));
  } else {
    load_into(decoder_, const_cast<Value&>(value));
  }
}

/// A C array whose length both sides know: no count travels.
template <class T>
struct Adapter<boost::serialization::array_wrapper<T>> {
  using Value = std::remove_const_t<T>;
  using Parts = Types<>;
  static constexpr std::size_t least_bytes = 0;
  static void save(Encoder& encoder, const boost::serialization::array_wrapper<T>& array) {
    if constexpr (Bits<Value>) {
      encoder.out.write(static_cast<const void*>(array.address()), array.count() * sizeof(T));
    } else {
      for (std::size_t i = 0; i < array.count(); ++i) encoder.archive() << array.address()[i];
    }
  }
  static void load_into(Decoder& decoder, const boost::serialization::array_wrapper<T>& array) {
    if constexpr (Bits<Value>) {
      load_bits(decoder.in, array.address(), array.count());
    } else {
      for (std::size_t i = 0; i < array.count(); ++i) decoder.archive() >> array.address()[i];
    }
  }
};

/// The count that Boost's adapters of its own containers write; they reserve memory by it, so a
/// count that the payload cannot hold is refused.
template <>
struct Adapter<boost::serialization::collection_size_type> {
  using Parts = Types<>;
  static constexpr std::size_t least_bytes = 8;
  static void save(Encoder& encoder, const boost::serialization::collection_size_type& count) {
    encoder.put_count(count);
  }
  static void load_into(Decoder& decoder, boost::serialization::collection_size_type& count) {
    count = boost::serialization::collection_size_type(decoder.take_block_count(1));
  }
};

/// Boost's own version numbers, as its adapters of its own containers write them.
template <class T>
struct VersionAdapter {
  using Parts = Types<>;
  static constexpr std::size_t least_bytes = 4;
  static void save(Encoder& encoder, const T& version) {
    encoder.put(static_cast<std::uint32_t>(version));
  }
  static void load_into(Decoder& decoder, T& version) {
    version = T(static_cast<std::uint16_t>(decoder.take<std::uint32_t>()));
  }
};
template <>
struct Adapter<boost::serialization::item_version_type>
    : VersionAdapter<boost::serialization::item_version_type> {};
template <>
struct Adapter<boost::serialization::library_version_type>
    : VersionAdapter<boost::serialization::library_version_type> {};

}  // namespace libpool::codec
