/// A batch whose outcome is one value: what `AsyncResult` handles share and blocking calls wait
/// for.
///
/// Runs in the parent. Neighbours: the core settles its items, handles wait for it and read its
/// value.
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include <libpool/detail/batch.hpp>

namespace libpool::detail {

/// What is stored for a value: `void` has no objects.
template <class T>
using stored_t = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class Value>
struct ValueCallback {
  using type = std::function<void(const Value&)>;
};
template <>
struct ValueCallback<void> {
  using type = std::function<void()>;
};

/// The user's functions to call at the end. Owned by the thread that concludes the batch.
template <class Value>
struct Callbacks {
  typename ValueCallback<Value>::type success = nullptr;
  std::function<void(std::exception_ptr)> error = nullptr;
};

/// The error of the lowest index wins; the input's own comes after all items before it.
template <class Value>
class JobStore : public Batch {
 public:
  using Stored = stored_t<Value>;
  static constexpr bool yields_items = false;

  JobStore(Terms terms, Callbacks<Value> callbacks) : Batch(terms) {
    if (callbacks.success != nullptr || callbacks.error != nullptr) {
      callbacks_ = std::make_unique<Callbacks<Value>>(std::move(callbacks));
    }
  }

  /// Waits until the outcome is there; false if `deadline` passed first. Throws `PoolError` in a
  /// foreign process and `std::logic_error` in a callback of this batch.
  bool wait(Deadline deadline) {
    refuse_waiting_in_callback(*this);
    if (done()) return true;
    core_->check_process();
    return core_->wait(*this, [this] { return done(); }, deadline);
  }

  /// The value, or the error rethrown. The batch is done, or this is its callback. All threads get
  /// the same object.
  Stored& value() {
    std::lock_guard lock(value_mutex_);
    if (auto error = final_error()) std::rethrow_exception(error);
    if (!value_) {
      try {
        value_.emplace(assemble());
      } catch (...) {
        assembly_error_ = std::current_exception();
        throw;
      }
    }
    return *value_;
  }

  /// Whether `value()` gives one. The batch is done.
  [[nodiscard]] bool succeeded() {
    std::lock_guard lock(value_mutex_);
    return final_error() == nullptr;
  }

  [[nodiscard]] bool has_callback() const noexcept override { return callbacks_ != nullptr; }

  void put_error(std::size_t index, std::exception_ptr error) noexcept override {
    std::lock_guard lock(mutex_);
    if (item_error_ && item_error_index_ < index) return;
    item_error_ = std::move(error);
    item_error_index_ = index;
  }

 protected:
  /// Makes the value out of the results, all of which are there. Called once at most, under a lock
  /// of the store.
  [[nodiscard]] virtual Stored assemble() = 0;

  void call_callback() override {
    // Their captures die here, on the thread that called them, and not with the last handle.
    const auto callbacks = std::exchange(callbacks_, nullptr);
    Stored* result = nullptr;
    std::exception_ptr error;
    try {
      result = &value();
    } catch (...) {
      error = std::current_exception();
    }
    if (error) {
      if (callbacks->error) callbacks->error(error);
    } else if (callbacks->success) {
      if constexpr (std::is_void_v<Value>) {
        callbacks->success();
      } else {
        callbacks->success(*result);
      }
    }
  }

 private:
  [[nodiscard]] std::exception_ptr final_error() {
    std::lock_guard lock(mutex_);
    if (overruling_error_) return overruling_error_;
    if (item_error_) return item_error_;
    return input_error_ ? input_error_ : assembly_error_;
  }

  std::unique_ptr<Callbacks<Value>> callbacks_;  ///< null: none; few calls have any

  // Guarded by mutex_.
  std::exception_ptr item_error_;
  std::size_t item_error_index_ = 0;

  std::mutex value_mutex_;
  // Guarded by value_mutex_.
  std::optional<Stored> value_;
  std::exception_ptr assembly_error_;
};

}  // namespace libpool::detail
