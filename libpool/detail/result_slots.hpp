/// Places for the results of a batch, by index: written by many threads at once, read when all are
/// there.
///
/// Runs in the parent. The feeding thread makes places, before the chunk that fills them is handed
/// out; whoever settles an item writes its place, without a lock; one thread takes them all at the
/// end.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <libpool/codec/values.hpp>
#include <libpool/detail/fresh_memory.hpp>

namespace libpool::detail {

/// Segments that never move: the first as large as the input claims to be, the others doubling.
template <class R>
class ResultSlots {
 public:
  /// Such results are written straight into the vector that the caller gets. (Elements of
  /// `std::vector<bool>` share bytes, which two threads must not write.)
  static constexpr bool direct = std::is_trivially_copyable_v<R> &&
                                 std::is_trivially_default_constructible_v<R> &&
                                 !std::is_same_v<R, bool>;

 private:
  using Slot = std::conditional_t<direct, R, std::optional<R>>;

 public:
  /// `expected` results, or so somebody claims. Throws `std::bad_alloc`.
  explicit ResultSlots(std::size_t expected)
      : first_size_(expected <= largest_first_segment / sizeof(Slot) ? expected : 0) {
    first_.reserve(first_size_);
    populate(first_.data(), first_size_ * sizeof(Slot));
    places_ = first_.data();
  }

  /// Makes places for indices below `count`. For the feeding thread; throws `std::bad_alloc`.
  void make_room(std::size_t count) {
    if (first_.size() < std::min(count, first_size_)) {
      // Some more than asked for, but few: workers begin meanwhile, and results find the zeros of
      // their places in the caches. The vector has the memory, so that nothing moves.
      const std::size_t some_more = first_.size() + opened_bytes / sizeof(Slot);
      first_.resize(std::min(first_size_, std::max(count, some_more)));
    }
    while (room() < count) {
      more_[segments_].reset(new Slot[segment_size(segments_)]);
      ++segments_;
    }
  }

  /// Places there are, or can be made without memory.
  [[nodiscard]] std::size_t room() const noexcept {
    return first_size_ + smallest_segment * ((std::size_t{1} << segments_) - 1);
  }

  /// Each index is put at most once; different ones by different threads at once.
  void put(std::size_t index, R&& value) { slot(index) = std::move(value); }

  /// Places side by side, for `index` and up to `count - 1` after it: to be written instead of put.
  [[nodiscard]] std::span<R> places(std::size_t index, std::size_t count) noexcept
    requires direct
  {
    return {std::addressof(slot(index)), std::min(count, contiguous_from(index))};
  }

  /// Puts results that lie side by side as bits; false where they have to be put one by one.
  bool place(std::size_t index, std::size_t count, const std::byte* bits) noexcept {
    if constexpr (direct && !codec::is_made_of_bool<R>) {
      while (count != 0) {
        const std::size_t part = std::min(count, contiguous_from(index));
        std::memcpy(static_cast<void*>(std::addressof(slot(index))), bits, part * sizeof(R));
        index += part;
        count -= part;
        bits += part * sizeof(R);
      }
      return true;
    } else {
      return false;
    }
  }

  /// The first `count` results, all of which have been put. Leaves nothing here.
  [[nodiscard]] std::vector<R> take(std::size_t count) {
    if constexpr (direct) {
      if (count <= first_size_) {
        first_.resize(count);
        return std::move(first_);
      }
    }
    std::vector<R> results;
    results.reserve(count);
    for (std::size_t index = 0; index < count; ++index) {
      if constexpr (direct) {
        results.push_back(slot(index));
      } else {
        results.push_back(std::move(*slot(index)));
      }
    }
    return results;
  }

 private:
  static constexpr std::size_t opened_bytes = std::size_t{64} << 10;
  static constexpr std::size_t smallest_segment = 1024;
  /// Bytes. A larger claim may be a lie; true ones pay for one move of their results.
  static constexpr std::size_t largest_first_segment = std::size_t{1} << 30;
  static constexpr std::size_t segment_size(std::size_t segment) noexcept {
    return smallest_segment << segment;
  }
  struct Place {
    std::size_t segment;
    std::size_t offset;
  };
  /// Of a result behind the first segment.
  static Place place_beyond(std::size_t beyond) noexcept {
    const auto segment =
        static_cast<std::size_t>(std::bit_width(beyond / smallest_segment + 1) - 1);
    return {segment, beyond - smallest_segment * ((std::size_t{1} << segment) - 1)};
  }
  [[nodiscard]] Slot& slot(std::size_t index) noexcept {
    if (index < first_size_) [[likely]]
      return places_[index];
    const Place place = place_beyond(index - first_size_);
    return more_[place.segment][place.offset];
  }
  /// Places side by side from this one on.
  [[nodiscard]] std::size_t contiguous_from(std::size_t index) const noexcept {
    if (index < first_size_) return first_size_ - index;
    const Place place = place_beyond(index - first_size_);
    return segment_size(place.segment) - place.offset;
  }

  const std::size_t first_size_;
  Slot* places_ = nullptr;  // of the first segment; they never move
  // Owned by the feeding thread.
  std::vector<Slot> first_;
  std::array<std::unique_ptr<Slot[]>, 48> more_;
  std::size_t segments_ = 0;
};

/// Results without content take no memory.
template <>
class ResultSlots<std::monostate> {
 public:
  explicit ResultSlots(std::size_t /*expected*/) noexcept {}
  void make_room(std::size_t /*count*/) noexcept {}
  [[nodiscard]] static std::size_t room() noexcept { return static_cast<std::size_t>(-1); }
  void put(std::size_t /*index*/, std::monostate&& /*value*/) noexcept {}
  bool place(std::size_t, std::size_t, const std::byte*) noexcept { return false; }
  [[nodiscard]] std::vector<std::monostate> take(std::size_t count) {
    return std::vector<std::monostate>(count);
  }
};

}  // namespace libpool::detail
