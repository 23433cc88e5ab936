/// The store of `imap` and its kin: outcomes on their way to a consumer, in input order or as they
/// come.
///
/// Runs in the parent. Neighbours: the core settles items, consumers take them, each item once. The
/// window bounds what is pulled and not yet taken, so that neither an endless input nor a slow
/// consumer fills memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include <libpool/codec/values.hpp>
#include <libpool/detail/batch.hpp>
#include <libpool/detail/job_store.hpp>
#include <libpool/outcome.hpp>

namespace libpool::detail {

/// How far a pool lets one job's input be pulled ahead.
struct Lookahead {
  std::size_t chunks = 1;  ///< at most
  std::size_t least = 1;   ///< chunks that keep the workers busy, however large they are
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
};

/// What a consumer gets.
enum class Taken : std::uint8_t { nothing_yet, item, error, end };

/// R is never a view; `void` functions give `std::monostate`.
template <class R>
class StreamStore : public Batch {
 public:
  using Result = stored_t<R>;
  using Item = Outcome<R>;
  static constexpr bool yields_items = true;  ///< items are wanted as they come

  StreamStore(Terms terms, Window window, bool ordered)
      : Batch(terms), window_(window), ordered_(ordered) {}

  // -- for the core ----------------------------------------------------------------------------

  [[nodiscard]] std::size_t next_chunk(std::size_t pulled, std::size_t bundle) override {
    try {
      std::lock_guard lock(mutex_);
      if (abandoned() || input_ended()) return 0;
      if (!wants_no_more_) {
        if (unbounded_) return make_room(pulled, terms().singly ? bundle : window_.chunk);
        const std::size_t ahead = pulled - taken_;
        if (ahead <= window_.items - window_.chunk) {
          const std::size_t left = window_.items - ahead;
          return make_room(pulled, terms().singly ? std::min(bundle, left) : window_.chunk);
        }
        waits_for_room_ = true;
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
    try {
      if constexpr (std::is_void_v<R>) {
        put_item(index, Item::success(index));
      } else {
        put_item(index, Item::success(index, std::move(value)));
      }
    } catch (...) {  // what moving the value threw
      put_error(index, std::current_exception());
    }
  }
  void put_error(std::size_t index, std::exception_ptr error) noexcept override {
    put_item(index, Item::failure(index, std::move(error)));
  }

  /// As `put`, for `count` results as bits; false if they have to be decoded, or are so many that
  /// the lock under which this is called would be held for long. [leaf]
  bool place(std::size_t index, std::size_t count, const std::byte* bits) noexcept {
    if (count > most_placed) return false;
    if constexpr (!std::is_void_v<R> && codec::Bits<Result> &&
                  std::is_trivially_default_constructible_v<Result> &&
                  !codec::is_made_of_bool<Result>) {
      put_run(index, count, [&] {
        Result value;
        std::memcpy(&value, std::exchange(bits, bits + sizeof value), sizeof value);
        return value;
      });
      return true;
    }
    return false;
  }

  /// As `put` and `put_error`, for the results of `count` items that `next` gives or throws: one
  /// lock for all. `next` runs under it, and so must call nothing. Returns how many it threw.
  template <class Next>
  std::size_t put_run(std::size_t index, std::size_t count, Next&& next) noexcept {
    std::size_t failed = 0;
    std::lock_guard lock(mutex_);
    if (items_ == nullptr || abandoned()) return 0;
    for (const std::size_t end = index + count; index != end; ++index) {
      try {
        insert(index, Item::success(index, next()));
      } catch (...) {
        insert(index, Item::failure(index, std::current_exception()));
        ++failed;
      }
    }
    return failed;
  }

  void pool_closed() noexcept override { open_window(); }

  // -- for consumers ---------------------------------------------------------------------------

  /// Takes the next item, its error included, into `item`; or the stream's own error into `error`:
  /// that of the input once, that of the pool for ever. Never waits.
  [[nodiscard]] Taken take(std::optional<Item>& item, std::exception_ptr& error) {
    bool resume = false;
    {
      std::lock_guard lock(mutex_);
      if (items_ == nullptr || items_->empty() || !items_->front()) return take_end(error);
      item = std::move(items_->front());
      items_->pop_front();
      ++taken_;
      if (!ordered_) --filled_;
      resume = waits_for_room_ && pulled() - taken_ <= window_.resume_at();
      if (resume) waits_for_room_ = false;
    }
    if (resume) core_->room_appeared(*this);
    return Taken::item;
  }

  /// Waits for the next of these. `nothing_yet`: `deadline` passed first. Throws `PoolError` in a
  /// foreign process.
  [[nodiscard]] Taken wait(std::optional<Item>& item, std::exception_ptr& error,
                           Deadline deadline) {
    core_->check_process();
    Taken taken = take(item, error);
    if (taken != Taken::nothing_yet) return taken;
    core_->wait(*this, [&] { return (taken = take(item, error)) != Taken::nothing_yet; }, deadline);
    return taken;
  }

  /// No consumer is left: what is there and what comes is discarded, while the rest of the input
  /// still runs.
  void drop() noexcept {
    std::unique_ptr<Places> discarded;  // destroyed without the lock: user code
    {
      std::lock_guard lock(mutex_);
      discarded = std::move(items_);
    }
    open_window();
  }

 private:
  using Places = std::deque<std::optional<Item>>;

  static constexpr std::size_t most_placed = 16;

  /// A longer chunk may be "all there is": the room made ahead has a bound, of 8 MiB.
  static constexpr std::size_t most_room_ahead =
      std::max<std::size_t>(1, (std::size_t{8} << 20) / sizeof(std::optional<Item>));

  /// Makes places for the outcomes of the next chunk, so that what comes of it takes no memory.
  /// Called with the lock; returns the items of that chunk.
  [[nodiscard]] std::size_t make_room(std::size_t pulled, std::size_t chunk) {
    const std::size_t items = std::min(chunk, most_room_ahead);
    const std::size_t places = pulled + items - taken_;
    if (items_ != nullptr && items_->size() < places) items_->resize(places);
    return items;
  }

  void put_item(std::size_t index, Item&& item) {
    std::lock_guard lock(mutex_);
    if (items_ != nullptr && !abandoned()) insert(index, std::move(item));
  }

  /// Called with the lock, by which there is a place.
  void insert(std::size_t index, Item&& item) {
    const std::size_t place = ordered_ ? index - taken_ : filled_;
    (*items_)[place].emplace(std::move(item));
    if (!ordered_) ++filled_;
    next_is_new_ = next_is_new_ || place == 0 || !ordered_;
  }

  void arrived() noexcept override {
    {
      std::lock_guard lock(mutex_);
      if (!std::exchange(next_is_new_, false)) return;
    }
    changed();
  }

  /// Called with the lock, when no item can be taken.
  [[nodiscard]] Taken take_end(std::exception_ptr& error) {
    const bool all_taken = input_ended() && taken_ == pulled();
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
      resume = (waits_for_room_ || wants_no_more_) && !abandoned() && !input_ended();
      waits_for_room_ = false;
    }
    if (resume) core_->room_appeared(*this);
  }

  const Window window_;
  const bool ordered_;

  // Guarded by mutex_.
  /// What was pulled and not yet taken. Ordered: the reorder buffer, its front is item `taken_`;
  /// else the first `filled_` are there. Null when no consumer is left.
  std::unique_ptr<Places> items_ = std::make_unique<Places>();
  std::size_t filled_ = 0;
  std::size_t taken_ = 0;
  bool next_is_new_ = false;  ///< an item can be taken that nobody has been woken for
  bool waits_for_room_ = false;
  bool unbounded_ = false;
  bool wants_no_more_ = false;
  bool input_error_given_ = false;
};

}  // namespace libpool::detail
