/// Places for outcomes between those who settle items and those who take them, in the order in
/// which they are given.
///
/// Runs in the parent. Neighbours: the store of a stream, whose locks it counts on. No worker's
/// death reaches it.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include <libpool/codec/values.hpp>

namespace libpool::detail {

/// A queue of values or errors, in segments that never move. Ordered: a position is an item's
/// index; else items get positions as they come. Two sides use it at once: one makes places and
/// fills them, under the store's mutex; the other takes, under the takers' lock. They share one
/// number, of the positions that can be taken.
template <class R>
class StreamPlaces {
 public:
  /// Of that many items at once, or more. Takes no memory yet.
  StreamPlaces(bool ordered, std::size_t items) noexcept
      : ordered_(ordered),
        segment_bits_(static_cast<int>(std::bit_width(std::clamp(items, least, most))) - 1) {}

  /// Results that are copied as bits.
  static constexpr bool direct = std::is_trivially_copyable_v<R> && codec::Bits<R> &&
                                 std::is_trivially_default_constructible_v<R> &&
                                 !codec::is_made_of_bool<R>;

  /// Bytes of a place.
  static constexpr std::size_t place_bytes =
      std::max(sizeof(R), sizeof(std::exception_ptr)) + sizeof(std::size_t);

  // -- one side: under the store's mutex --------------------------------------------------------

  /// Makes places for positions below `end`. Throws `std::bad_alloc`.
  void make_room(std::size_t end) {
    while (room() < end) {
      segments_.push_back(spare_ != nullptr ? std::move(spare_)
                                            : std::make_unique<Segment>(segment_size(), ordered_));
    }
  }

  /// The item's value; what moving it throws is its error instead.
  void put(std::size_t index, R&& value) noexcept {
    const std::size_t position = position_of(index);
    const Place place = at(position);
    try {
      ::new (place.bytes()) R(std::move(value));
      place.state() = State::value;
    } catch (...) {
      fail(place, std::current_exception());
    }
    filled(index, position, 1);
  }

  void put_error(std::size_t index, std::exception_ptr error) noexcept {
    const std::size_t position = position_of(index);
    fail(at(position), std::move(error));
    filled(index, position, 1);
  }

  /// The values of consecutive items, as bits.
  void put_bits(std::size_t index, std::size_t count, const std::byte* bits) noexcept
    requires direct
  {
    while (count != 0) {
      const std::size_t position = position_of(index);
      const Place place = at(position);
      const std::size_t part = std::min(count, segment_size() - place.offset);
      if constexpr (sizeof(R) == sizeof(Slot)) {
        std::memcpy(place.bytes(), bits, part * sizeof(R));
      } else {
        for (std::size_t i = 0; i != part; ++i) {
          std::memcpy(place.behind(i).bytes(), bits + i * sizeof(R), sizeof(R));
        }
      }
      std::fill_n(&place.state(), part, State::value);
      filled(index, position, part);
      index += part;
      count -= part;
      bits += part * sizeof(R);
    }
  }

  /// Whether one that can be taken next has come since the last call.
  [[nodiscard]] bool news() noexcept { return std::exchange(news_, false); }

  /// Nobody will take any more: what is there, to be destroyed without locks.
  [[nodiscard]] auto take_all() noexcept { return std::exchange(segments_, {}); }

  /// Under both locks: the takers go on to the next segment.
  void next_segment() noexcept {
    if (current_ != nullptr) {
      spare_ = std::move(segments_.front());
      segments_.erase(segments_.begin());
      first_ += segment_size();
    }
    current_ = segments_.front().get();
    begin_ = first_;
  }

  // -- the other side: under the takers' lock ---------------------------------------------------

  /// Whether there is one to take.
  [[nodiscard]] bool any() noexcept {
    if (taken_ == known_) known_ = ready_.load();
    return taken_ != known_;
  }

  /// Whether `next_segment` must be called before the next one is taken.
  [[nodiscard]] bool at_segment_end() const noexcept {
    return current_ == nullptr || taken_ - begin_ == segment_size();
  }

  /// Takes the next one, of which there is `any`: calls `give(index, R&&)` or `fail(index,
  /// std::exception_ptr&&)`. What these throw leaves it to be taken.
  template <class Give, class Fail>
  void take(Give&& give, Fail&& fail) {
    const Place place{*current_, taken_ - begin_};
    const std::size_t index = ordered_ ? taken_ : place.index();
    if (place.state() == State::value) [[likely]] {
      give(index, std::move(place.value()));
      std::destroy_at(&place.value());
    } else {
      fail(index, std::move(place.error()));
      std::destroy_at(&place.error());
    }
    place.state() = State::empty;
    ++taken_;
  }

  /// Whether the next one is known to be there, a value, and in the segment at hand.
  [[nodiscard]] bool value_at_hand() const noexcept {
    return taken_ != known_ && !at_segment_end() &&
           Place{*current_, taken_ - begin_}.state() == State::value;
  }

  /// Takes the next one, which is a value at hand.
  [[nodiscard]] R take_value() noexcept {
    const Place place{*current_, taken_ - begin_};
    R value = std::move(place.value());
    std::destroy_at(&place.value());
    place.state() = State::empty;
    ++taken_;
    return value;
  }

  [[nodiscard]] std::size_t taken() const noexcept { return taken_; }

 private:
  static constexpr std::size_t least = 16;
  /// A segment is about 16 KiB, if that is a few places.
  static constexpr std::size_t most =
      std::max<std::size_t>((std::size_t{16} << 10) / place_bytes, least);

  enum class State : std::uint8_t { empty, value, error };

  /// A value or an error.
  struct Slot {
    alignas(R) alignas(
        std::exception_ptr) std::byte bytes[std::max(sizeof(R), sizeof(std::exception_ptr))];
  };

  struct Segment {
    Segment(std::size_t size, bool ordered)
        : count(size),
          slots(std::make_unique_for_overwrite<Slot[]>(size)),
          states(std::make_unique<State[]>(size)),
          indices(ordered ? nullptr : std::make_unique_for_overwrite<std::size_t[]>(size)) {}
    Segment(const Segment&) = delete;
    Segment& operator=(const Segment&) = delete;
    ~Segment() {
      for (std::size_t offset = 0; offset != count; ++offset) {
        const Place place{*this, offset};
        if (place.state() == State::value) std::destroy_at(&place.value());
        if (place.state() == State::error) std::destroy_at(&place.error());
      }
    }
    const std::size_t count;
    const std::unique_ptr<Slot[]> slots;
    const std::unique_ptr<State[]> states;
    const std::unique_ptr<std::size_t[]> indices;
  };

  struct Place {
    Segment& segment;
    std::size_t offset;

    [[nodiscard]] void* bytes() const noexcept { return segment.slots[offset].bytes; }
    [[nodiscard]] R& value() const noexcept { return *std::launder(static_cast<R*>(bytes())); }
    [[nodiscard]] std::exception_ptr& error() const noexcept {
      return *std::launder(static_cast<std::exception_ptr*>(bytes()));
    }
    [[nodiscard]] State& state() const noexcept { return segment.states[offset]; }
    [[nodiscard]] std::size_t& index() const noexcept { return segment.indices[offset]; }
    [[nodiscard]] Place behind(std::size_t places) const noexcept {
      return {segment, offset + places};
    }
  };

  [[nodiscard]] std::size_t segment_size() const noexcept {
    return std::size_t{1} << segment_bits_;
  }
  /// Positions before this have places.
  [[nodiscard]] std::size_t room() const noexcept {
    return first_ + (segments_.size() << segment_bits_);
  }
  [[nodiscard]] Place at(std::size_t position) const noexcept {
    const std::size_t beyond = position - first_;
    return {*segments_[beyond >> segment_bits_], beyond & (segment_size() - 1)};
  }
  [[nodiscard]] std::size_t position_of(std::size_t index) const noexcept {
    return ordered_ ? index : ready_.load();
  }

  /// The places of `count` items, side by side in one segment, have been filled.
  void filled(std::size_t index, std::size_t position, std::size_t count) noexcept {
    std::size_t end = position + count;
    if (!ordered_) {
      const Place place = at(position);
      for (std::size_t i = 0; i != count; ++i) place.behind(i).index() = index + i;
    } else {
      if (position != ready_.load()) return;
      while (end != room() && at(end).state() != State::empty) ++end;
    }
    news_ = true;
    ready_.store(end);
  }

  static void fail(const Place& place, std::exception_ptr error) noexcept {
    ::new (place.bytes()) std::exception_ptr(std::move(error));
    place.state() = State::error;
  }

  const bool ordered_;
  const int segment_bits_;

  // Guarded by the store's mutex.
  std::vector<std::unique_ptr<Segment>> segments_;
  std::unique_ptr<Segment> spare_;  ///< the last one that was emptied
  std::size_t first_ = 0;           ///< the position at which the segments begin
  bool news_ = false;

  /// Positions that are filled, without a gap. Changes under the store's mutex; a taker that sees
  /// it sees what is in them.
  std::atomic<std::size_t> ready_{0};

  // Guarded by the takers' lock.
  Segment* current_ = nullptr;
  std::size_t begin_ = 0;  ///< the position at which it begins
  std::size_t taken_ = 0;
  std::size_t known_ = 0;  ///< `ready_` as last seen
};

}  // namespace libpool::detail
