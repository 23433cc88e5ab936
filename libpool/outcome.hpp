/// What became of one item: its result, or the exception that stands for it.
///
/// Made in the parent, a plain value there; an item's worker may be long gone.
#pragma once

#include <cstddef>
#include <exception>
#include <utility>
#include <variant>

namespace libpool {

/// The outcome of the item at `index()` of its batch. Copyable if R is. Const members are
/// thread-safe.
template <class R>
class Outcome {
 public:
  using value_type = R;

  [[nodiscard]] static Outcome success(std::size_t index, R value) {
    return Outcome(index, State(std::in_place_index<0>, std::move(value)));
  }
  [[nodiscard]] static Outcome failure(std::size_t index, std::exception_ptr error) {
    return Outcome(index, State(std::in_place_index<1>, std::move(error)));
  }

  [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
  [[nodiscard]] explicit operator bool() const noexcept { return has_value(); }

  /// The result; throws the item's exception if there is none.
  [[nodiscard]] R& value() & { return checked(), **this; }
  [[nodiscard]] const R& value() const& { return checked(), **this; }
  [[nodiscard]] R&& value() && { return checked(), *std::move(*this); }

  /// The result, which must be there.
  [[nodiscard]] R& operator*() & noexcept { return *std::get_if<0>(&state_); }
  [[nodiscard]] const R& operator*() const& noexcept { return *std::get_if<0>(&state_); }
  [[nodiscard]] R&& operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }

  /// Null if there is a result.
  [[nodiscard]] std::exception_ptr exception() const noexcept {
    return has_value() ? nullptr : *std::get_if<1>(&state_);
  }

  /// The item's place in its batch.
  [[nodiscard]] std::size_t index() const noexcept { return index_; }

 private:
  using State = std::variant<R, std::exception_ptr>;
  Outcome(std::size_t index, State&& state) : index_(index), state_(std::move(state)) {}
  void checked() const {
    if (!has_value()) std::rethrow_exception(exception());
  }

  std::size_t index_;
  State state_;
};

/// The outcome of an item without a result.
template <>
class Outcome<void> {
 public:
  using value_type = void;

  [[nodiscard]] static Outcome success(std::size_t index) noexcept {
    return Outcome(index, nullptr);
  }
  [[nodiscard]] static Outcome failure(std::size_t index, std::exception_ptr error) noexcept {
    return Outcome(index, std::move(error));
  }

  [[nodiscard]] bool has_value() const noexcept { return error_ == nullptr; }
  [[nodiscard]] explicit operator bool() const noexcept { return has_value(); }
  /// Throws the item's exception if it failed.
  void value() const {
    if (error_) std::rethrow_exception(error_);
  }
  void operator*() const noexcept {}
  /// Null if it succeeded.
  [[nodiscard]] std::exception_ptr exception() const noexcept { return error_; }
  /// The item's place in its batch.
  [[nodiscard]] std::size_t index() const noexcept { return index_; }

 private:
  Outcome(std::size_t index, std::exception_ptr error) noexcept
      : index_(index), error_(std::move(error)) {}

  std::size_t index_;
  std::exception_ptr error_;
};

namespace detail {

template <class T>
inline constexpr bool is_outcome = false;
template <class R>
inline constexpr bool is_outcome<Outcome<R>> = true;

}  // namespace detail
}  // namespace libpool
