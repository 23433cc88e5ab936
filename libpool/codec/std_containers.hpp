/// How the standard containers travel: strings, sequences, sets and maps.
///
/// Runs in both processes, inside an encode or a decode. A count of 64 bits comes first, and is
/// checked against the payload before anything is reserved for it. A death here leaves an
/// unpublished payload.
///
/// Contiguous bits (vectors and strings): the count, padding to the block's alignment, then the
/// block. Others: the count, then each element; elements that may take no bytes have one byte
/// before each, so that a short payload cannot promise endless elements.
#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <forward_list>
#include <iterator>
#include <list>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <libpool/buffer.hpp>
#include <libpool/codec/values.hpp>
#include <libpool/detail/fresh_memory.hpp>

namespace libpool::codec {

inline constexpr std::size_t count_bytes = sizeof(std::uint64_t);

// -- blocks --------------------------------------------------------------------------------------

template <Bits T>
void save_block(Encoder& encoder, const T* values, std::size_t count) {
  encoder.put_count(count);
  encoder.out.align(block_alignment<T>);
  encoder.out.write(static_cast<const void*>(values), count * sizeof(T));
}

/// The count of a block whose first byte is next.
template <Bits T>
[[nodiscard]] std::size_t open_block(Decoder& decoder) {
  const std::size_t count = decoder.take_block_count(sizeof(T));
  decoder.in.align(block_alignment<T>);
  if (count > decoder.in.remaining() / sizeof(T))
    throw CorruptPayload("a count exceeds the payload");
  return count;
}

/// Fills a vector or a string with the block of `count` elements that comes next. Where the block
/// lies aligned, in one pass over memory that nobody has touched before.
template <class Container, class T = typename Container::value_type>
void load_block(Decoder& decoder, Container& container, std::size_t count) {
  const std::byte* block = decoder.in.take(count * sizeof(T)).data();
  if (reinterpret_cast<std::uintptr_t>(block) % alignof(T) == 0) {
    const T* const elements = reinterpret_cast<const T*>(block);
    container.reserve(count);
    detail::populate(container.data(), count * sizeof(T));
    container.assign(elements, elements + count);
  } else {
    container.resize(count);
    if (count != 0) std::memcpy(static_cast<void*>(container.data()), block, count * sizeof(T));
  }
  check_bits<T>(reinterpret_cast<const std::byte*>(container.data()), count * sizeof(T));
}

template <class Char, class Traits, class Allocator>
struct Adapter<std::basic_string<Char, Traits, Allocator>> {
  using String = std::basic_string<Char, Traits, Allocator>;
  using Parts = Types<Char>;
  static constexpr std::size_t least_bytes = count_bytes;

  static void save(Encoder& encoder, const String& string) {
    save_block(encoder, string.data(), string.size());
  }
  static void load_into(Decoder& decoder, String& string) {
    load_block(decoder, string, open_block<Char>(decoder));
  }
};

// -- elements ------------------------------------------------------------------------------------

template <class Element>
struct Elements {
  static constexpr bool guarded = least_bytes<Element>() == 0;
  static constexpr std::size_t least = guarded ? 1 : least_bytes<Element>();

  static void save_one(Encoder& encoder, const Element& element) {
    if constexpr (guarded) encoder.put(std::uint8_t{0});
    codec::save(encoder, element);
  }
  template <class Range>
  static void save_all(Encoder& encoder, const Range& range, std::size_t count) {
    encoder.put_count(count);
    for (const Element& element : range) save_one(encoder, element);
  }
  static void begin_one(Decoder& decoder) {
    decoder.begin_element(least);
    if constexpr (guarded) (void)decoder.take<std::uint8_t>();
  }
};

/// Appends a decoded element; in its place, where it can be empty first, because tracked objects
/// must not move.
template <class Sequence>
void append_one(Decoder& decoder, Sequence& sequence) {
  using Element = typename Sequence::value_type;
  Elements<Element>::begin_one(decoder);
  if constexpr (std::is_default_constructible_v<Element>) {
    load_into(decoder, sequence.emplace_back());
  } else {
    load_and_place<Element>(decoder, [&](Element&& element) {
      return std::addressof(sequence.emplace_back(std::move(element)));
    });
  }
}

template <class T, class Allocator>
struct Adapter<std::vector<T, Allocator>> {
  using Parts = Types<T>;
  static constexpr std::size_t least_bytes = count_bytes;

  static void save(Encoder& encoder, const std::vector<T, Allocator>& vector) {
    if constexpr (Bits<T>) {
      save_block(encoder, vector.data(), vector.size());
    } else {
      Elements<T>::save_all(encoder, vector, vector.size());
    }
  }
  static void load_into(Decoder& decoder, std::vector<T, Allocator>& vector) {
    vector.clear();
    if constexpr (Bits<T> && std::is_default_constructible_v<T>) {
      load_block(decoder, vector, open_block<T>(decoder));
    } else if constexpr (Bits<T>) {
      const std::size_t count = open_block<T>(decoder);
      vector.reserve(count);
      for (std::size_t i = 0; i < count; ++i) vector.push_back(codec::load<T>(decoder));
    } else {
      const std::size_t count = decoder.take_count(Elements<T>::least);
      vector.reserve(count);  // now elements keep their addresses
      for (std::size_t i = 0; i < count; ++i) append_one(decoder, vector);
    }
  }
};

/// As a vector. A large one stays in the memory of its payload, if that can be kept.
template <Bits T>
struct Adapter<Buffer<T>> {
  using Parts = Types<T>;
  static constexpr std::size_t least_bytes = count_bytes;

  static void save(Encoder& encoder, const Buffer<T>& buffer) {
    save_block(encoder, buffer.data(), buffer.size());
  }
  static void load_into(Decoder& decoder, Buffer<T>& buffer) {
    const std::size_t count = open_block<T>(decoder);
    PayloadHolder* const holder = alignof(T) <= 16 ? decoder.in.holder() : nullptr;
    auto memory = holder != nullptr ? holder->hold(count * sizeof(T)) : nullptr;
    if (memory == nullptr) {
      std::vector<T> elements;
      load_block(decoder, elements, count);
      buffer = Buffer<T>(std::move(elements));
      return;
    }
    const std::byte* block = decoder.in.take(count * sizeof(T)).data();
    check_bits<T>(block, count * sizeof(T));
    buffer = Buffer<T>(std::move(memory), {reinterpret_cast<const T*>(block), count});
  }
};

/// Eight elements a byte, the first in the lowest bit.
template <class Allocator>
struct Adapter<std::vector<bool, Allocator>> {
  using Parts = Types<>;
  static constexpr std::size_t least_bytes = count_bytes;

  static void save(Encoder& encoder, const std::vector<bool, Allocator>& vector) {
    encoder.put_count(vector.size());
    for (std::size_t i = 0; i < vector.size(); i += 8) {
      unsigned byte = 0;
      for (std::size_t bit = 0; bit < 8 && i + bit < vector.size(); ++bit) {
        byte |= unsigned{vector[i + bit]} << bit;
      }
      encoder.put(static_cast<std::uint8_t>(byte));
    }
  }
  static void load_into(Decoder& decoder, std::vector<bool, Allocator>& vector) {
    const auto count = decoder.take<std::uint64_t>();
    const std::uint64_t bytes = count / 8 + (count % 8 != 0 ? 1 : 0);
    if (bytes > decoder.in.remaining()) throw CorruptPayload("a count exceeds the payload");
    vector.resize(static_cast<std::size_t>(count));
    unsigned byte = 0;
    for (std::size_t i = 0; i < vector.size(); ++i) {
      if (i % 8 == 0) byte = decoder.take<std::uint8_t>();
      vector[i] = ((byte >> (i % 8)) & 1U) != 0;
    }
  }
};

template <class Sequence>
struct SequenceAdapter {
  using Element = typename Sequence::value_type;
  using Parts = Types<Element>;
  static constexpr std::size_t least_bytes = count_bytes;

  static void save(Encoder& encoder, const Sequence& sequence) {
    Elements<Element>::save_all(encoder, sequence, sequence.size());
  }
  static void load_into(Decoder& decoder, Sequence& sequence) {
    sequence.clear();
    const std::size_t count = decoder.take_count(Elements<Element>::least);
    for (std::size_t i = 0; i < count; ++i) append_one(decoder, sequence);
  }
};
template <class T, class Allocator>
struct Adapter<std::deque<T, Allocator>> : SequenceAdapter<std::deque<T, Allocator>> {};
template <class T, class Allocator>
struct Adapter<std::list<T, Allocator>> : SequenceAdapter<std::list<T, Allocator>> {};

template <class T, class Allocator>
struct Adapter<std::forward_list<T, Allocator>> {
  using Parts = Types<T>;
  static constexpr std::size_t least_bytes = count_bytes;

  static void save(Encoder& encoder, const std::forward_list<T, Allocator>& list) {
    Elements<T>::save_all(encoder, list,
                          static_cast<std::size_t>(std::distance(list.begin(), list.end())));
  }
  static void load_into(Decoder& decoder, std::forward_list<T, Allocator>& list) {
    list.clear();
    auto last = list.before_begin();
    const std::size_t count = decoder.take_count(Elements<T>::least);
    for (std::size_t i = 0; i < count; ++i) {
      Elements<T>::begin_one(decoder);
      if constexpr (std::is_default_constructible_v<T>) {
        last = list.emplace_after(last);
        codec::load_into(decoder, *last);
      } else {
        load_and_place<T>(decoder, [&](T&& element) {
          last = list.insert_after(last, std::move(element));
          return std::addressof(*last);
        });
      }
    }
  }
};

/// An array of bits is bits; this is one of others.
template <class T, std::size_t N>
  requires(!Bits<T>)
struct Adapter<std::array<T, N>> {
  using Parts = Types<T>;
  static constexpr std::size_t least_bytes = N * codec::least_bytes<T>();

  static void save(Encoder& encoder, const std::array<T, N>& array) {
    for (const T& element : array) codec::save(encoder, element);
  }
  static void load_into(Decoder& decoder, std::array<T, N>& array) {
    for (T& element : array) codec::load_into(decoder, element);
  }
  static std::array<T, N> load(Decoder& decoder) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return std::array<T, N>{((void)I, codec::load<T>(decoder))...};
    }(std::make_index_sequence<N>{});
  }
};

// -- sets and maps -------------------------------------------------------------------------------

template <class Container>
concept Hashed = requires { typename Container::hasher; };

/// An element whose key was there already would be dropped, with all that references in the rest of
/// the payload may lead to. No encoder writes that.
template <class Container>
void check_inserted(const Container& container, std::size_t count) {
  if (container.size() != count) throw CorruptPayload("a key occurs twice");
}

/// A container is made empty before it is filled, and so is what it compares and hashes by.
template <class... Function>
inline constexpr bool can_be_made_empty =
    (std::is_default_constructible_v<Function> && ...) && !(std::is_pointer_v<Function> || ...);

template <class Set>
consteval void check_functions() {
  if constexpr (Hashed<Set>) {
    static_assert(can_be_made_empty<typename Set::hasher, typename Set::key_equal>,
                  "libpool: a container that hashes or compares by a function pointer cannot "
                  "travel: use a function object.");
  } else {
    static_assert(can_be_made_empty<typename Set::key_compare>,
                  "libpool: a container that compares by a function pointer cannot travel: use a "
                  "function object.");
  }
}

template <class Set>
struct SetAdapter {
  using Key = typename Set::key_type;
  using Parts = Types<Key>;
  static constexpr std::size_t least_bytes = count_bytes;

  static void save(Encoder& encoder, const Set& set) {
    Elements<Key>::save_all(encoder, set, set.size());
  }
  static void load_into(Decoder& decoder, Set& set) {
    check_functions<Set>();
    set.clear();
    const std::size_t count = decoder.take_count(Elements<Key>::least);
    if constexpr (Hashed<Set>) set.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      Elements<Key>::begin_one(decoder);
      load_and_place<Key>(decoder, [&](Key&& key) {
        return std::addressof(*set.emplace_hint(set.end(), std::move(key)));
      });
      check_inserted(set, i + 1);
    }
  }
};
template <class... T>
struct Adapter<std::set<T...>> : SetAdapter<std::set<T...>> {};
template <class... T>
struct Adapter<std::multiset<T...>> : SetAdapter<std::multiset<T...>> {};
template <class... T>
struct Adapter<std::unordered_set<T...>> : SetAdapter<std::unordered_set<T...>> {};
template <class... T>
struct Adapter<std::unordered_multiset<T...>> : SetAdapter<std::unordered_multiset<T...>> {};

template <class Map>
struct MapAdapter {
  using Key = typename Map::key_type;
  using Mapped = typename Map::mapped_type;
  using Parts = Types<Key, Mapped>;
  static constexpr std::size_t least_bytes = count_bytes;

  static void save(Encoder& encoder, const Map& map) {
    encoder.put_count(map.size());
    for (const auto& [key, mapped] : map) {
      Elements<Key>::save_one(encoder, key);
      codec::save(encoder, mapped);
    }
  }
  static void load_into(Decoder& decoder, Map& map) {
    check_functions<Map>();
    map.clear();
    const std::size_t count = decoder.take_count(Elements<Key>::least);
    if constexpr (Hashed<Map>) map.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      Elements<Key>::begin_one(decoder);
      load_one(decoder, map);
      check_inserted(map, i + 1);
    }
  }

 private:
  static void load_one(Decoder& decoder, Map& map) {
    if constexpr (std::is_default_constructible_v<Mapped>) {
      auto place = map.end();
      load_and_place<Key>(decoder, [&](Key&& key) {
        place = map.emplace_hint(map.end(), std::piecewise_construct,
                                 std::forward_as_tuple(std::move(key)), std::tuple<>());
        return std::addressof(place->first);
      });
      codec::load_into(decoder, place->second);
    } else {
      Key key = codec::load<Key>(decoder);
      load_and_place<Mapped>(decoder, [&](Mapped&& mapped) {
        return std::addressof(
            map.emplace_hint(map.end(), std::move(key), std::move(mapped))->second);
      });
    }
  }
};
template <class... T>
struct Adapter<std::map<T...>> : MapAdapter<std::map<T...>> {};
template <class... T>
struct Adapter<std::multimap<T...>> : MapAdapter<std::multimap<T...>> {};
template <class... T>
struct Adapter<std::unordered_map<T...>> : MapAdapter<std::unordered_map<T...>> {};
template <class... T>
struct Adapter<std::unordered_multimap<T...>> : MapAdapter<std::unordered_multimap<T...>> {};

}  // namespace libpool::codec
