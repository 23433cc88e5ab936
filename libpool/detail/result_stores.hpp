/// The stores of calls with one outcome: all results of a map, one outcome for each item, or one
/// result.
///
/// Runs in the parent. Neighbours: the codec or a thread puts results in, handles and blocking
/// calls take the value.
#pragma once

#include <cstddef>
#include <exception>
#include <new>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <libpool/detail/borrowing.hpp>
#include <libpool/detail/job_store.hpp>
#include <libpool/detail/result_slots.hpp>
#include <libpool/outcome.hpp>
#include <libpool/submit/chunker.hpp>

namespace libpool::detail {

/// How many items travel together in a batch without a window.
struct ChunkRule {
  std::optional<std::size_t> chunksize = std::nullopt;  ///< asked for by the caller
  std::optional<std::size_t> items = std::nullopt;      ///< what the input claims to have
  std::size_t workers = 1;

  [[nodiscard]] std::size_t next(std::size_t pulled) const noexcept {
    if (chunksize) return *chunksize;
    return items ? submit::automatic_chunk(*items, pulled, workers)
                 : submit::growing_chunk(pulled, workers);
  }
  /// Places to make for results before any is there.
  [[nodiscard]] std::size_t expected() const noexcept { return items.value_or(0); }
};

template <class R>
using vector_or_void_t =
    typename std::conditional_t<std::is_void_v<R>, std::type_identity<void>,
                                std::type_identity<std::vector<stored_t<R>>>>::type;

/// What a store of many results has beside its slots: chunks, and room made before each.
template <class Value, class Slot>
class ManyStore : public JobStore<Value> {
 public:
  Borrowing borrowing;  ///< of the range of a call that blocks

  using Terms = Batch::Terms;
  ManyStore(Terms terms, ChunkRule rule, Callbacks<Value> callbacks = {})
      : JobStore<Value>(terms, std::move(callbacks)), slots_(rule.expected()), rule_(rule) {}

  [[nodiscard]] std::size_t next_chunk(std::size_t pulled, std::size_t bundle) override {
    if (this->abandoned() || this->input_ended()) return 0;
    std::size_t items = this->terms().singly ? bundle : rule_.next(pulled);
    try {
      // A caller's chunk size may be "all there is", and the input's claim anything: the room made
      // ahead has a bound.
      const std::size_t room = slots_.room() - std::min(slots_.room(), pulled);
      items = std::min(items, std::max(room, most_room_ahead));
      slots_.make_room(pulled + items);
    } catch (...) {
      this->abandon(std::current_exception(), false);
      return 0;
    }
    return items;
  }

 protected:
  ResultSlots<Slot> slots_;

 private:
  static constexpr std::size_t most_room_ahead = std::size_t{1} << 18;
  const ChunkRule rule_;
};

/// `map`, `starmap`: all results in input order, or the error of the lowest index after all items
/// have finished.
template <class R>
class VectorStore : public ManyStore<vector_or_void_t<R>, stored_t<R>> {
 public:
  using Result = stored_t<R>;
  using Value = vector_or_void_t<R>;
  using ManyStore<Value, Result>::ManyStore;

  /// The item's result. If moving it throws, that is the item's outcome.
  void store(std::size_t index, Result&& value) noexcept {
    put(index, std::move(value));
    this->settled(1);
  }
  void put(std::size_t index, Result&& value) noexcept {
    if constexpr (!std::is_void_v<R>) {
      try {
        this->slots_.put(index, std::move(value));
      } catch (...) {
        this->put_error(index, std::current_exception());
      }
    }
  }
  /// Where results can be written instead of being put.
  [[nodiscard]] std::span<Result> places(std::size_t index, std::size_t count) noexcept
    requires(!std::is_void_v<R> && ResultSlots<Result>::direct)
  {
    return this->slots_.places(index, count);
  }
  /// As `put`, for results as bits. [leaf]
  bool place(std::size_t index, std::size_t count, const std::byte* bits) noexcept {
    return this->slots_.place(index, count, bits);
  }

 protected:
  [[nodiscard]] stored_t<Value> assemble() override {
    if constexpr (std::is_void_v<R>) {
      return {};
    } else {
      return this->slots_.take(this->pulled());
    }
  }
};

/// `try_map`, `try_starmap`: an outcome for each item, in input order. Only the input or the pool
/// can fail it.
template <class R>
class OutcomesStore : public ManyStore<std::vector<Outcome<R>>, Outcome<R>> {
 public:
  using Result = stored_t<R>;
  using Value = std::vector<Outcome<R>>;
  using ManyStore<Value, Outcome<R>>::ManyStore;

  void store(std::size_t index, Result&& value) noexcept {
    put(index, std::move(value));
    this->settled(1);
  }
  void put(std::size_t index, Result&& value) noexcept {
    try {
      if constexpr (std::is_void_v<R>) {
        this->slots_.put(index, Outcome<R>::success(index));
      } else {
        this->slots_.put(index, Outcome<R>::success(index, std::move(value)));
      }
    } catch (...) {
      put_error(index, std::current_exception());
    }
  }
  void put_error(std::size_t index, std::exception_ptr error) noexcept override {
    this->slots_.put(index, Outcome<R>::failure(index, std::move(error)));
  }

 protected:
  [[nodiscard]] Value assemble() override { return this->slots_.take(this->pulled()); }
};

/// `apply`, `apply_async`: the result of one call.
template <class R>
class SingleStore : public JobStore<R> {
 public:
  using Result = stored_t<R>;
  using Value = R;
  using Terms = Batch::Terms;
  explicit SingleStore(Terms terms, Callbacks<R> callbacks = {})
      : JobStore<R>(terms, std::move(callbacks)) {}

  [[nodiscard]] std::size_t next_chunk(std::size_t pulled, std::size_t /*bundle*/) override {
    if (this->abandoned() || this->input_ended()) return 0;
    if (pulled == 0) return 1;
    if (pulled == this->pulled()) this->end_input(nullptr);  // else at the next step
    return 0;
  }

  void store(std::size_t index, Result&& value) noexcept {
    put(index, std::move(value));
    this->settled(1);
  }
  void put(std::size_t index, Result&& value) noexcept {
    try {
      result_.emplace(std::move(value));
    } catch (...) {
      this->put_error(index, std::current_exception());
    }
  }

 protected:
  [[nodiscard]] Result assemble() override { return *std::move(result_); }

 private:
  // Written by whoever settles the item, read when it is settled.
  std::optional<Result> result_;
};

}  // namespace libpool::detail
