/// What can travel, and how: the classification of types that the codec works by.
///
/// Compile time only. Neighbours: `values.hpp` dispatches on it, the adapters of the standard types
/// add to it, `codec.hpp` makes the public concept `Serializable` of it.
///
/// Every type belongs to the first of these that fits: one with an `Adapter` (the standard types
/// that are not plain bytes), one with a `serialize` of its own, bits (copied as they lie), an
/// aggregate.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <ranges>
#include <type_traits>
#include <utility>

#include <boost/serialization/access.hpp>
#include <boost/serialization/level.hpp>
#include <boost/serialization/serialization.hpp>
#include <boost/serialization/tracking.hpp>

#include <libpool/codec/aggregate.hpp>
#include <libpool/codec/coder.hpp>

namespace libpool::codec {

template <class... T>
struct Types {};

/// How a standard type travels; `std_*.hpp` specialise it. A specialisation has
///
///     using Parts = Types<...>;                         // what must be serialisable too
///     static constexpr std::size_t least_bytes;         // that any value takes
///     static void save(Encoder&, const T&);
///     static void load_into(Decoder&, T&);              // either or both; `load` for types
///     static T load(Decoder&);                          //   that cannot be made empty first
template <class T>
struct Adapter;

template <class T>
concept Adapted = requires { typename Adapter<T>::Parts; };

// -- a serialize of its own ----------------------------------------------------------------------

namespace member_probe {

struct Name {
  int serialize;
};
/// If T has any member `serialize`, also a private one, then the name is ambiguous in here.
template <class T>
struct Heir : T, Name {};

template <class T>
concept Unambiguous = requires { &Heir<T>::serialize; };

}  // namespace member_probe

namespace free_probe {

/// Brings the namespaces of Boost's own lookup, `boost::serialization` among them, into ours.
struct Version : boost::serialization::version_type {};

/// The twin of Boost's catch-all template: where nothing better is found the two are ambiguous.
template <class Archive, class T>
void serialize(Archive&, T&, const unsigned int);

template <class T>
concept Found = requires(OutputArchive& archive, T& value, Version version) {
  serialize(archive, value, version);
};

}  // namespace free_probe

/// A member `serialize` that takes an archive and a version. Of a private one only the name can be
/// seen, and of a final class, which cannot be derived from, not even that. A public one that takes
/// something else is not Boost's (an overloaded one counts as private).
template <class T>
concept HasMemberSerialize =
    std::is_class_v<T> && (requires(OutputArchive& archive, T& value) {
      value.serialize(archive, 0U);
    } || (!std::is_final_v<T> && !member_probe::Unambiguous<T> && !requires { &T::serialize; }));

/// A class that Boost.Serialization knows: by a member `serialize`, or by a free one that is found
/// through the namespaces of its arguments or lies in `boost::serialization`.
template <class T>
concept OwnSerialize =
    std::is_class_v<T> && !Adapted<T> && (HasMemberSerialize<T> || free_probe::Found<T>);

// -- bits ----------------------------------------------------------------------------------------

/// Types that are copyable as bits and still mean nothing elsewhere: they point to things.
template <class T>
struct IsReferring : std::bool_constant<std::is_pointer_v<T> || std::is_member_pointer_v<T> ||
                                        (std::is_class_v<T> && std::ranges::view<T>)> {};
template <class T>
struct IsReferring<std::reference_wrapper<T>> : std::true_type {};
template <class T>
struct IsReferring<std::initializer_list<T>> : std::true_type {};

template <class T>
concept Referring = IsReferring<T>::value;

template <class T>
struct IsBits : std::bool_constant<std::is_trivially_copyable_v<T> && !std::is_const_v<T> &&
                                   !std::is_volatile_v<T> && !Referring<T> && !Adapted<T> &&
                                   !OwnSerialize<T>> {};
template <class T, std::size_t N>
struct IsBits<T[N]> : IsBits<T> {};
template <class T, std::size_t N>
struct IsBits<std::array<T, N>> : IsBits<T> {};

/// Copied as it lies in memory, alone or in blocks.
template <class T>
concept Bits = IsBits<T>::value;

// -- aggregates ----------------------------------------------------------------------------------

namespace base_probe {

/// Converts to bases of T and to nothing else.
template <class T>
struct AnyBase {
  template <class Base>
    requires(std::is_base_of_v<Base, T> && !std::is_same_v<Base, T>)
  operator Base() const;
};
struct Nothing {};

template <class T>
concept HasBase = requires { T{AnyBase<T>{}}; } && !requires { T{Nothing{}}; };

}  // namespace base_probe

/// Taken apart into its members by Boost.PFR.
template <class T>
concept Aggregate = std::is_class_v<T> && std::is_aggregate_v<T> && !Adapted<T> &&
                    !OwnSerialize<T> && !Bits<T> && !Referring<T> && !base_probe::HasBase<T>;

/// `Types` of its members.
template <class T>
using Fields = fields_as<T, Types>;

// -- the whole tree of a type --------------------------------------------------------------------

template <class T, class... Above>
consteval bool is_serializable();

template <class... Above, class... Part>
consteval bool all_serializable(Types<Part...>) {
  return (is_serializable<Part, Above...>() && ...);
}

/// `Above` are the types that this one is a part of: a recursive type is as serialisable as its
/// other parts.
template <class T, class... Above>
consteval bool is_serializable() {
  if constexpr (!std::is_object_v<T> || std::is_const_v<T> || std::is_volatile_v<T>) {
    return false;
  } else if constexpr ((std::is_same_v<T, Above> || ...)) {
    return true;
  } else if constexpr (Adapted<T>) {
    return all_serializable<T, Above...>(typename Adapter<T>::Parts{});
  } else if constexpr (OwnSerialize<T> || Bits<T>) {
    return true;
  } else if constexpr (std::is_array_v<T>) {
    return is_serializable<std::remove_extent_t<T>, Above...>();
  } else if constexpr (Aggregate<T>) {
    return all_serializable<T, Above...>(Fields<T>{});
  } else {
    return false;
  }
}

// -- least sizes ---------------------------------------------------------------------------------

template <class T>
consteval std::size_t least_bytes();

template <class... T>
consteval std::size_t least_bytes_of_all(Types<T...>) {
  return (std::size_t{0} + ... + least_bytes<T>());
}

/// Bytes that every encoded value of this type takes at least; what counts of elements are checked
/// by.
template <class T>
consteval std::size_t least_bytes() {
  if constexpr (Adapted<T>) {
    return Adapter<T>::least_bytes;
  } else if constexpr (OwnSerialize<T>) {
    // Objects begin with a mark, except where the user asked for neither class information nor
    // tracking.
    constexpr bool unmarked =
        boost::serialization::implementation_level<T>::value <
            boost::serialization::object_class_info &&
        boost::serialization::tracking_level<T>::value == boost::serialization::track_never;
    return unmarked ? 0 : 1;
  } else if constexpr (Bits<T>) {
    return sizeof(T);
  } else if constexpr (std::is_array_v<T>) {
    return std::extent_v<T> * least_bytes<std::remove_extent_t<T>>();
  } else if constexpr (Aggregate<T>) {
    return least_bytes_of_all(Fields<T>{});
  } else {
    return 0;
  }
}

}  // namespace libpool::codec
