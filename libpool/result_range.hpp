/// ResultRange: the lazy results of `imap` and its kin, as a move-only C++20 input range.
///
/// Lives in the parent and stays valid after the pool is gone. Neighbours: the stream's store, from
/// which it takes items; the pool's core, which a waiting thread may drive.
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <libpool/detail/stream_store.hpp>
#include <libpool/errors.hpp>
#include <libpool/outcome.hpp>
#include <libpool/saturating_nanoseconds.hpp>

namespace libpool {
namespace detail {

/// The R of the store behind a range, which yields R or `Outcome<R>`.
template <class T>
struct Yielded {
  using Task = T;
};
template <class R>
struct Yielded<Outcome<R>> {
  using Task = R;
};

}  // namespace detail

/// Yields a T for each item: a result, or for `try_imap` an `Outcome`.
///
/// Several threads may call `next()`: each item is given once, and each thread sees the end.
/// Iterators are for one thread. Dropping the range keeps its remaining input running (with
/// `buffersize` set, only what was pulled). After `terminate()`, or when the pool broke, come the
/// results that are there, then `PoolTerminated` or `PoolBroken`: from every later `next()`, and
/// from one last element of an iteration.
template <class T>
class ResultRange {
  using Store = detail::StreamStore<typename detail::Yielded<T>::Task>;

 public:
  /// For the pools.
  explicit ResultRange(std::shared_ptr<Store> store) noexcept : store_(std::move(store)) {}
  ResultRange(ResultRange&&) noexcept = default;
  ResultRange& operator=(ResultRange&& other) noexcept {
    ResultRange(std::move(other)).swap(*this);
    return *this;
  }
  ~ResultRange() {
    if (!store_) return;
    try {
      store_->core().check_process();
    } catch (...) {
      return;  // a forked copy: the range of the original goes on
    }
    store_->drop();
  }

  /// The next item, or nothing at the end, and again after it. Throws the item's error, that of the
  /// input after the items before it, or the pool's; `PoolError` in a foreign process.
  std::optional<T> next() {
    if (std::optional<T> item = take_at_once()) return item;
    return next_before(std::nullopt);
  }

  /// The same; throws `TimeoutError` if the item is not there in time (zero or less: now). Nothing
  /// is lost.
  template <class Rep, class Period>
  std::optional<T> next(const std::chrono::duration<Rep, Period>& timeout) {
    return next_before(detail::deadline_in(timeout));
  }

  class iterator;
  /// Waits for the first item. Iterators and `next()` take items from the same stream.
  iterator begin() {
    iterator first(*this);
    ++first;
    return first;
  }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  void swap(ResultRange& other) noexcept { store_.swap(other.store_); }

 private:
  /// The next item, if taking it is all that has to be done.
  std::optional<T> take_at_once() {
    if constexpr (std::is_same_v<T, typename Store::Result>) {
      store_->core().check_process();
      return store_->take_at_once();
    } else {
      return std::nullopt;
    }
  }

  std::optional<T> next_before(detail::Deadline deadline) {
    std::optional<T> item;
    std::exception_ptr error;
    switch (store_->wait(item, error, deadline)) {
      case detail::Taken::item:
      case detail::Taken::end:
        break;
      case detail::Taken::failed:
      case detail::Taken::error:
        std::rethrow_exception(error);
      case detail::Taken::nothing_yet:
        throw TimeoutError();
    }
    return item;
  }

  std::shared_ptr<Store> store_;
};

/// An input iterator. Dereferencing throws the error of an item that failed; going on after it is
/// fine. The element may be moved from.
template <class T>
class ResultRange<T>::iterator {
 public:
  using iterator_concept = std::input_iterator_tag;
  using value_type = T;
  using difference_type = std::ptrdiff_t;

  iterator(iterator&&) noexcept = default;
  iterator& operator=(iterator&&) noexcept = default;

  T& operator*() const {
    if (error_) std::rethrow_exception(error_);
    return *value_;
  }
  T* operator->() const { return std::addressof(**this); }

  /// Waits for the next item. After an error of the whole stream comes the end.
  iterator& operator++() {
    value_.reset();
    if (last_) {
      at_end_ = true;
      return *this;
    }
    error_ = nullptr;
    if (std::optional<T> item = range_->take_at_once()) {
      value_.emplace(std::move(*item));
      return *this;
    }
    const auto taken = range_->store_->wait(value_, error_, std::nullopt);
    at_end_ = taken == detail::Taken::end;
    last_ = taken == detail::Taken::error;
    return *this;
  }
  void operator++(int) { ++*this; }

  friend bool operator==(const iterator& self, std::default_sentinel_t) noexcept {
    return self.at_end_;
  }

 private:
  friend ResultRange;
  explicit iterator(ResultRange& range) noexcept : range_(std::addressof(range)) {}

  ResultRange* range_;
  mutable std::optional<T> value_;
  std::exception_ptr error_;
  bool last_ = false;
  bool at_end_ = false;
};

}  // namespace libpool
