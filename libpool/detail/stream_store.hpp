/// The store of `imap` and its kin: outcomes on their way to a consumer, in input order or as they
/// come.
///
/// Runs in the parent. Neighbours: the core settles items, consumers take them, each item once. The
/// window bounds what is pulled and not yet taken, so that neither an endless input nor a slow
/// consumer fills memory.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include <libpool/detail/batch.hpp>
#include <libpool/detail/job_store.hpp>
#include <libpool/detail/stream_places.hpp>
#include <libpool/outcome.hpp>
#include <libpool/ring/biased_lock.hpp>

namespace libpool::detail {

/// How far a pool lets one job's input be pulled ahead.
struct Lookahead {
  std::size_t chunks = 1;  ///< at most
  std::size_t least = 1;   ///< chunks that keep the workers busy, however large they are
  bool asked_for = false;  ///< by the user
};

/// What pulling further ahead takes.
struct Cost {
  bool small_results = false;    ///< each is a few bytes
  bool input_in_memory = false;  ///< its elements lie side by side
};

/// How far an input may be pulled ahead of the consumer.
struct Window {
  std::size_t chunk = 1;   ///< items that travel together, at most `items`
  std::size_t items = 1;   ///< pulled and not yet taken
  bool only_this = false;  ///< `buffersize`: nothing is pulled any more when the pool is closed or
                           ///< the range dropped

  /// Feeding that waits for room goes on when so many items are outstanding. Large windows wait for
  /// a quarter of their room, so that a consumer does not wake a helper thread for each item that
  /// it takes.
  [[nodiscard]] std::size_t resume_at() const noexcept {
    const std::size_t batched = items >= 64 ? items / 4 : 1;
    return items - std::max(chunk, batched);
  }
  /// Of large windows, takers tell others only of each so many-th item (a power of two), because
  /// that costs more than the item does. Feeding never waits for more.
  [[nodiscard]] std::size_t told_at_once() const noexcept {
    const std::size_t outstanding = resume_at();
    return outstanding < 64 ? 1 : std::min<std::size_t>(std::bit_floor(outstanding / 4), 256);
  }
};

/// What a consumer gets.
enum class Taken : std::uint8_t { nothing_yet, item, failed, error, end };

/// R is never a view; `void` functions give `std::monostate`.
template <class R>
class StreamStore : public Batch {
 public:
  using Result = stored_t<R>;
  using Item = Outcome<R>;
  static constexpr bool yields_items = true;  ///< items are wanted as they come
  static constexpr bool small_results = StreamPlaces<Result>::direct && sizeof(Result) <= 64;

  StreamStore(Terms terms, Window window, bool ordered)
      : Batch(terms),
        window_(window),
        told_at_once_(window.told_at_once()),
        places_(ordered, window.items) {}

  // -- for the core ----------------------------------------------------------------------------

  [[nodiscard]] std::size_t next_chunk(std::size_t pulled, std::size_t bundle) override {
    try {
      std::lock_guard lock(mutex_);
      if (abandoned() || input_ended()) return 0;
      if (!wants_no_more_) {
        if (unbounded_) return make_room(pulled, terms().singly ? bundle : window_.chunk);
        do {
          const std::size_t ahead = pulled - taken_.load();
          if (ahead <= window_.items - window_.chunk) {
            const std::size_t left = window_.items - ahead;
            return make_room(pulled, terms().singly ? std::min(bundle, left) : window_.chunk);
          }
        } while (!wait_for_room(pulled));
        return 0;
      }
    } catch (...) {
      abandon(std::current_exception(), false);
      return 0;
    }
    if (pulled == this->pulled()) end_input(nullptr);  // else at the next step
    return 0;
  }

  void store(std::size_t index, Result&& value) noexcept {
    put(index, std::move(value));
    settled(1);
  }
  void put(std::size_t index, Result&& value) noexcept {
    const std::lock_guard lock(mutex_);
    if (wanted()) places_.put(index, std::move(value));
  }
  void put_error(std::size_t index, std::exception_ptr error) noexcept override {
    const std::lock_guard lock(mutex_);
    if (wanted()) places_.put_error(index, std::move(error));
  }

  /// As `put`, for `count` results as bits; false if they have to be decoded, or are so many that
  /// the lock under which this is called would be held for long. [leaf]
  bool place(std::size_t index, std::size_t count, const std::byte* bits) noexcept {
    if constexpr (StreamPlaces<Result>::direct && !std::is_void_v<R>) {
      if (count > most_placed) return false;
      const std::lock_guard lock(mutex_);
      if (wanted()) places_.put_bits(index, count, bits);
      return true;
    } else {
      return false;
    }
  }

  /// As `put` and `put_error`, for the results of `count` items that `next` gives or throws: one
  /// lock for all. `next` runs under it, and so must call nothing. Returns how many it threw.
  template <class Next>
  std::size_t put_run(std::size_t index, std::size_t count, Next&& next) noexcept {
    std::size_t failed = 0;
    std::lock_guard lock(mutex_);
    if (!wanted()) return 0;
    for (const std::size_t end = index + count; index != end; ++index) {
      try {
        places_.put(index, next());
      } catch (...) {
        places_.put_error(index, std::current_exception());
        ++failed;
      }
    }
    return failed;
  }

  void pool_closed() noexcept override { open_window(); }

  // -- for consumers ---------------------------------------------------------------------------

  /// Takes the next item. What is wanted is an `Outcome`, or a result: then the item's error comes
  /// as `failed`. `error` gets that, or the stream's own: that of the input once, that of the pool
  /// for ever. Never waits. Sets `room` if feeding waited for what was taken: it is to be told, but
  /// by nobody who drives the pool, because whoever tells it may feed, and run the user's encoders.
  template <class Wanted>
  [[nodiscard]] Taken take(std::optional<Wanted>& item, std::exception_ptr& error, bool& room) {
    const std::lock_guard takers(takers_);
    if (!places_.any() || places_.at_segment_end()) {
      const std::lock_guard lock(mutex_);
      if (!places_.any()) return take_end(error);
      if (places_.at_segment_end()) places_.next_segment();
    }
    const Taken taken = take_place(item, error);
    room = tell_taken();
    return taken;
  }

  /// The next item if it is a result, and taking it is all that has to be done; else nothing, and
  /// `wait` does the rest. It is worth a function of its own because here the value stays in
  /// registers.
  [[nodiscard]] std::optional<Result> take_at_once() noexcept {
    if constexpr (std::is_nothrow_move_constructible_v<Result>) {
      const std::lock_guard takers(takers_);
      if (places_.value_at_hand() && !tells_of(places_.taken() + 1)) return places_.take_value();
    }
    return std::nullopt;
  }

  /// Waits for the next of these. `nothing_yet`: `deadline` passed first. Throws `PoolError` in a
  /// foreign process.
  template <class Wanted>
  [[nodiscard]] Taken wait(std::optional<Wanted>& item, std::exception_ptr& error,
                           Deadline deadline) {
    core_->check_process();
    bool room = false;
    Taken taken = Taken::nothing_yet;
    const auto take_one = [&] { return (taken = take(item, error, room)) != Taken::nothing_yet; };
    if (!take_one()) core_->wait(*this, take_one, deadline);
    if (room) core_->room_appeared(*this);
    return taken;
  }

  /// No consumer is left: what is there and what comes is discarded, while the rest of the input
  /// still runs.
  void drop() noexcept {
    {
      std::unique_lock lock(mutex_);
      dropped_ = true;
      const auto discarded = places_.take_all();
      lock.unlock();  // user code
    }
    open_window();
  }

 private:
  /// Some microseconds of copying.
  static constexpr std::size_t most_placed = (std::size_t{16} << 10) / sizeof(Result);

  /// A longer chunk may be "all there is": the room made ahead has a bound, of 8 MiB.
  static constexpr std::size_t most_room_ahead =
      std::max<std::size_t>(1, (std::size_t{8} << 20) / StreamPlaces<Result>::place_bytes);

  /// Makes places for the outcomes of the next chunk, so that what comes of it takes no memory.
  /// Called with the lock; returns the items of that chunk.
  [[nodiscard]] std::size_t make_room(std::size_t pulled, std::size_t chunk) {
    const std::size_t items = std::min(chunk, most_room_ahead);
    if (!dropped_) places_.make_room(pulled + items);
    return items;
  }

  /// Called with the lock: whether an outcome is still for somebody.
  [[nodiscard]] bool wanted() const noexcept { return !dropped_ && !abandoned(); }

  void arrived() noexcept override {
    {
      std::lock_guard lock(mutex_);
      if (!places_.news()) return;
    }
    changed();
  }

  /// Called with the lock. Whether feeding has to wait for room until `room_appeared`; false if the
  /// room is there.
  [[nodiscard]] bool wait_for_room(std::size_t pulled) noexcept {
    const std::size_t awaited = pulled - window_.resume_at();
    const std::size_t step = told_at_once_;
    const std::size_t told = (awaited + step - 1) / step * step;
    awaited_.store(told);
    // The taker writes its own word before it reads this one, so that one of the two sees both.
    if (taken_.load() < told) return true;
    awaited_.store(nothing_awaited);
    return false;
  }

  [[nodiscard]] bool tells_of(std::size_t taken) const noexcept {
    return (taken & (told_at_once_ - 1)) == 0;
  }

  /// Called under the takers' lock. True if feeding waits for what was taken, and nobody else says
  /// so.
  [[nodiscard]] bool tell_taken() noexcept {
    const std::size_t taken = places_.taken();
    if (!tells_of(taken)) return false;
    taken_.store(taken);
    if (taken < awaited_.load()) return false;
    const std::lock_guard lock(mutex_);
    // Again: meanwhile feeding may have gone on by itself, and wait for more.
    if (taken < awaited_.load()) return false;
    awaited_.store(nothing_awaited);
    return true;
  }

  /// Called under the takers' lock, when there is one.
  template <class Wanted>
  [[nodiscard]] Taken take_place(std::optional<Wanted>& item, std::exception_ptr& error) {
    Taken taken = Taken::item;
    places_.take(
        [&](std::size_t index, Result&& value) {
          if constexpr (!std::is_same_v<Wanted, Item>) {
            item.emplace(std::move(value));
          } else if constexpr (std::is_void_v<R>) {
            item.emplace(Item::success(index));
          } else {
            item.emplace(Item::success(index, std::move(value)));
          }
        },
        [&](std::size_t index, std::exception_ptr&& failed) {
          if constexpr (std::is_same_v<Wanted, Item>) {
            item.emplace(Item::failure(index, std::move(failed)));
          } else {
            error = std::move(failed);
            taken = Taken::failed;
          }
        });
    return taken;
  }

  /// Called with both locks, when no item can be taken.
  [[nodiscard]] Taken take_end(std::exception_ptr& error) {
    const bool all_taken = input_ended() && places_.taken() == pulled();
    // A pool that ends later takes nothing back from a range that was at its end.
    if (!all_taken && abandoned()) {
      error = overruling_error_;
      return Taken::error;
    }
    if (!all_taken) return Taken::nothing_yet;
    if (input_error_ && !std::exchange(input_error_given_, true)) {
      error = input_error_;
      return Taken::error;
    }
    return Taken::end;
  }

  /// The pool was closed or the range dropped: nothing waits for a consumer any more.
  void open_window() noexcept {
    bool resume = false;
    {
      std::lock_guard lock(mutex_);
      (window_.only_this ? wants_no_more_ : unbounded_) = true;
      const bool waits = awaited_.exchange(nothing_awaited) != nothing_awaited;
      resume = (waits || wants_no_more_) && !abandoned() && !input_ended();
    }
    if (resume) core_->room_appeared(*this);
  }

  static constexpr std::size_t nothing_awaited = SIZE_MAX;

  const Window window_;
  const std::size_t told_at_once_;
  StreamPlaces<Result> places_;

  // Guarded by mutex_.
  bool dropped_ = false;
  bool unbounded_ = false;
  bool wants_no_more_ = false;
  bool input_error_given_ = false;
  std::atomic<std::size_t> awaited_{nothing_awaited};  ///< feeding waits until so many are taken

  /// Taken before mutex_. A stream has one consumer, nearly always.
  ring::BiasedLock takers_;
  std::atomic<std::size_t> taken_{0};  ///< as takers have told
};

}  // namespace libpool::detail
