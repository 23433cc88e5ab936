/// How the other standard types travel: pairs, tuples, optional and variant, owning pointers,
/// paths.
///
/// Runs in both processes, inside an encode or a decode. Chrono, complex, bitset, enums and numbers
/// need nothing here: they are bits. A death here leaves an unpublished payload.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <libpool/codec/std_containers.hpp>
#include <libpool/codec/values.hpp>

namespace libpool::codec {

// -- pairs and tuples ----------------------------------------------------------------------------

template <class A, class B>
struct Adapter<std::pair<A, B>> {
  using Parts = Types<std::remove_const_t<A>, std::remove_const_t<B>>;
  static constexpr std::size_t least_bytes = least_bytes_of_all(Parts{});

  static void save(Encoder& encoder, const std::pair<A, B>& pair) {
    codec::save(encoder, pair.first);
    codec::save(encoder, pair.second);
  }
  static void load_into(Decoder& decoder, std::pair<A, B>& pair) {
    codec::load_into(decoder, const_cast<std::remove_const_t<A>&>(pair.first));
    codec::load_into(decoder, const_cast<std::remove_const_t<B>&>(pair.second));
  }
  static std::pair<A, B> load(Decoder& decoder) {
    return std::pair<A, B>{codec::load<std::remove_const_t<A>>(decoder),
                           codec::load<std::remove_const_t<B>>(decoder)};
  }
};

template <class... T>
struct Adapter<std::tuple<T...>> {
  using Parts = Types<T...>;
  static constexpr std::size_t least_bytes = least_bytes_of_all(Parts{});

  static void save(Encoder& encoder, const std::tuple<T...>& tuple) {
    std::apply([&](const T&... member) { (codec::save(encoder, member), ...); }, tuple);
  }
  static void load_into(Decoder& decoder, std::tuple<T...>& tuple) {
    std::apply([&](T&... member) { (codec::load_into(decoder, member), ...); }, tuple);
  }
  static std::tuple<T...> load(Decoder& decoder) {
    return std::tuple<T...>{codec::load<T>(decoder)...};
  }
};

// -- optional and variant ------------------------------------------------------------------------

/// True for one, false for zero; no other byte is either.
[[nodiscard]] inline bool take_flag(Decoder& decoder) {
  const auto byte = decoder.take<std::uint8_t>();
  if (byte > 1) throw CorruptPayload("a flag is neither false nor true");
  return byte == 1;
}

template <class T>
struct Adapter<std::optional<T>> {
  using Parts = Types<T>;
  static constexpr std::size_t least_bytes = 1;

  static void save(Encoder& encoder, const std::optional<T>& optional) {
    encoder.put(static_cast<std::uint8_t>(optional.has_value()));
    if (optional) codec::save(encoder, *optional);
  }
  static void load_into(Decoder& decoder, std::optional<T>& optional) {
    optional.reset();
    if (!take_flag(decoder)) return;
    if constexpr (std::is_default_constructible_v<T>) {
      codec::load_into(decoder, optional.emplace());
    } else {
      load_and_place<T>(
          decoder, [&](T&& value) { return std::addressof(optional.emplace(std::move(value))); });
    }
  }
};

/// The index, then the alternative. A variant that is valueless by an exception cannot be encoded.
template <class... T>
struct Adapter<std::variant<T...>> {
  using Variant = std::variant<T...>;
  using Parts = Types<T...>;
  static constexpr std::size_t least_bytes = 1;
  static_assert(sizeof...(T) <= 256, "libpool: a variant of more than 256 alternatives");

  static void save(Encoder& encoder, const Variant& variant) {
    if (variant.valueless_by_exception()) throw std::bad_variant_access();
    encoder.put(static_cast<std::uint8_t>(variant.index()));
    std::visit([&](const auto& value) { codec::save(encoder, value); }, variant);
  }
  static void load_into(Decoder& decoder, Variant& variant) {
    load_alternative(decoder, [&]<std::size_t I>(std::in_place_index_t<I>) {
      using Value = std::variant_alternative_t<I, Variant>;
      if constexpr (std::is_default_constructible_v<Value>) {
        codec::load_into(decoder, variant.template emplace<I>());
      } else {
        load_and_place<Value>(decoder, [&](Value&& value) {
          return std::addressof(variant.template emplace<I>(std::move(value)));
        });
      }
    });
  }
  static Variant load(Decoder& decoder) {
    std::optional<Variant> variant;  // of alternatives without a default constructor
    load_alternative(decoder, [&]<std::size_t I>(std::in_place_index_t<I> place) {
      variant.emplace(place, codec::load<std::variant_alternative_t<I, Variant>>(decoder));
    });
    return std::move(*variant);
  }

 private:
  template <class Use>
  static void load_alternative(Decoder& decoder, Use use) {
    const std::size_t index = decoder.take<std::uint8_t>();
    if (index >= sizeof...(T)) throw CorruptPayload("a variant has no such alternative");
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (void)((index == I && (use(std::in_place_index<I>), true)) || ...);
    }(std::index_sequence_for<T...>{});
  }
};

// -- owning pointers -----------------------------------------------------------------------------

/// To classes with a serialize of their own: as Boost writes pointers, so that polymorphic classes
/// keep their type and tracked objects their identity. To others: a flag, then the value.
template <class T>
struct Adapter<std::unique_ptr<T>> {
  using Value = std::remove_const_t<T>;
  using Parts = Types<Value>;
  static constexpr std::size_t least_bytes = 1;

  static void save(Encoder& encoder, const std::unique_ptr<T>& pointer) {
    if constexpr (OwnSerialize<Value>) {
      const Value* raw = pointer.get();
      boost::archive::detail::save_pointer_type<OutputArchive>::invoke(encoder.archive(), raw);
    } else {
      encoder.put(static_cast<std::uint8_t>(pointer != nullptr));
      if (pointer) codec::save(encoder, *pointer);
    }
  }
  static void load_into(Decoder& decoder, std::unique_ptr<T>& pointer) {
    pointer.reset();
    if constexpr (OwnSerialize<Value>) {
      Value* raw = nullptr;
      boost::archive::detail::load_pointer_type<InputArchive>::invoke(decoder.archive(), raw);
      if (raw == nullptr) return;
      decoder.archive().deliver_unique();
      pointer.reset(raw);
    } else if (take_flag(decoder)) {
      if constexpr (std::is_default_constructible_v<Value>) {
        auto made = std::make_unique<Value>();
        codec::load_into(decoder, *made);
        pointer = std::move(made);
      } else {
        pointer = std::make_unique<Value>(codec::load<Value>(decoder));
      }
    }
  }
};

/// Shared objects travel once in each value; their sharing is restored. Objects of classes with a
/// serialize are tracked as Boost does it, others by address and type.
template <class T>
struct Adapter<std::shared_ptr<T>> {
  using Value = std::remove_const_t<T>;
  using Parts = Types<Value>;
  static constexpr std::size_t least_bytes = 1;
  static_assert(!OwnSerialize<Value> || boost::serialization::tracking_level<Value>::value !=
                                            boost::serialization::track_never,
                "libpool: a shared_ptr to a class that is never tracked cannot keep its sharing");

  static void save(Encoder& encoder, const std::shared_ptr<T>& pointer) {
    if constexpr (OwnSerialize<Value>) {
      const Value* raw = pointer.get();
      boost::archive::detail::save_pointer_type<OutputArchive>::invoke(encoder.archive(), raw);
    } else if (pointer == nullptr) {
      encoder.put(Mark::null);
    } else if (const auto [fresh, id] = encoder.share(pointer.get(), typeid(Value)); fresh) {
      encoder.put(Mark::fresh);
      codec::save(encoder, *pointer);
    } else {
      encoder.put(Mark::again);
      encoder.put(id);
    }
  }
  static void load_into(Decoder& decoder, std::shared_ptr<T>& pointer) {
    pointer.reset();
    if constexpr (OwnSerialize<Value>) {
      Value* raw = nullptr;
      boost::archive::detail::load_pointer_type<InputArchive>::invoke(decoder.archive(), raw);
      if (raw != nullptr) pointer = decoder.archive().deliver_shared(raw);
    } else {
      load_plain(decoder, pointer);
    }
  }

 private:
  static void load_plain(Decoder& decoder, std::shared_ptr<T>& pointer) {
    switch (static_cast<Mark>(decoder.take<std::uint8_t>())) {
      case Mark::null:
        return;
      case Mark::again:
        pointer = std::static_pointer_cast<Value>(
            decoder.shared(decoder.take<std::uint64_t>(), typeid(Value)));
        return;
      case Mark::fresh:
        pointer = load_fresh(decoder);
        return;
      default:
        throw CorruptPayload("a pointer has no mark");
    }
  }
  /// Known to the decoder before its members are, so that cycles close.
  static std::shared_ptr<Value> load_fresh(Decoder& decoder) {
    const std::size_t id = decoder.begin_shared(typeid(Value));
    if constexpr (std::is_default_constructible_v<Value>) {
      auto object = std::make_shared<Value>();
      decoder.set_shared(id, object);
      codec::load_into(decoder, *object);
      return object;
    } else {
      auto object = std::make_shared<Value>(codec::load<Value>(decoder));
      decoder.set_shared(id, object);
      return object;
    }
  }
};

/// The object that it observes, if that is alive. It dies after decoding unless a `shared_ptr` of
/// the same value owns it.
template <class T>
struct Adapter<std::weak_ptr<T>> {
  using Parts = Types<std::remove_const_t<T>>;
  static constexpr std::size_t least_bytes = 1;

  static void save(Encoder& encoder, const std::weak_ptr<T>& pointer) {
    codec::save(encoder, pointer.lock());
  }
  static void load_into(Decoder& decoder, std::weak_ptr<T>& pointer) {
    pointer = codec::load<std::shared_ptr<T>>(decoder);
  }
};

// -- paths ---------------------------------------------------------------------------------------

template <>
struct Adapter<std::filesystem::path> {
  using Parts = Types<>;
  static constexpr std::size_t least_bytes = count_bytes;

  static void save(Encoder& encoder, const std::filesystem::path& path) {
    codec::save(encoder, path.native());
  }
  static void load_into(Decoder& decoder, std::filesystem::path& path) {
    path = codec::load<std::string>(decoder);
  }
};

}  // namespace libpool::codec
