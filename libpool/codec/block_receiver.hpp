/// Takes in an encoded vector or string piece by piece, straight to where it will stay.
///
/// Runs in the parent, for results that come in fragments. What a worker's death leaves of one is
/// discarded.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <libpool/codec/std_containers.hpp>
#include <libpool/detail/fresh_memory.hpp>

namespace libpool::codec {

/// Elements that pieces of a multiple of 16 bytes hold whole and aligned, and any bytes of which
/// are a value.
template <class T>
inline constexpr bool comes_in_pieces =
    Bits<T> && !is_made_of_bool<T> && std::is_trivially_default_constructible_v<T> &&
    sizeof(T) <= 16 && (sizeof(T) & (sizeof(T) - 1)) == 0;

template <class Container>
inline constexpr bool received_in_pieces = false;
template <class T>
inline constexpr bool received_in_pieces<std::vector<T>> = comes_in_pieces<T>;
template <class Char, class Traits>
inline constexpr bool received_in_pieces<std::basic_string<Char, Traits>> = comes_in_pieces<Char>;

/// The reverse of `save_block`. Trusts nothing: reads no byte twice, and reserves no more than the
/// caller believes in. Not thread-safe.
template <class Container>
  requires received_in_pieces<Container>
class BlockReceiver {
  using T = typename Container::value_type;

 public:
  /// Bytes in front of the elements: their count.
  static constexpr std::size_t header =
      std::max(count_bytes, block_alignment<T>);  // both powers of two

  /// Of about `expected` bytes. Throws `std::bad_alloc`.
  BlockReceiver(std::span<const std::byte, header> begin, std::size_t expected) {
    std::memcpy(&count_, begin.data(), sizeof count_);
    container_.reserve(std::min<std::uint64_t>(count_, expected / sizeof(T)));
  }

  /// The next piece, from a multiple of 16 bytes in memory on. Throws `std::bad_alloc`, having
  /// changed nothing.
  void append(std::span<const std::byte> bytes) {
    const std::size_t elements = bytes.size() / sizeof(T);
    broken_ = broken_ || bytes.size() % sizeof(T) != 0 || elements > count_ - container_.size();
    if (broken_) return;
    const T* const from = reinterpret_cast<const T*>(bytes.data());
    detail::populate_ahead(container_.data(), size(), size() + bytes.size(),
                           container_.capacity() * sizeof(T));
    container_.insert(container_.end(), from, from + elements);
  }

  /// Bytes that are here.
  [[nodiscard]] std::size_t size() const noexcept { return container_.size() * sizeof(T); }
  /// Whether that is the value.
  [[nodiscard]] bool whole() const noexcept { return !broken_ && container_.size() == count_; }
  [[nodiscard]] Container take() noexcept { return std::move(container_); }

 private:
  Container container_;
  std::uint64_t count_ = 0;  ///< elements, by the other side's word
  bool broken_ = false;
};

}  // namespace libpool::codec
