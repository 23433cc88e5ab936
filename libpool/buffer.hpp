/// Buffer: contiguous elements that several owners share and nobody changes.
///
/// A plain value in the parent and in workers. What a function returns as a `Buffer` stays, in the
/// parent, in the memory into which it was received: a worker's death has no part in it any more.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace libpool {

/// A view of elements that holds their memory. Copies are cheap and share it; it is released with
/// the last one, which may outlive the pool.
///
/// As a function's result it spares a large one the copy into fresh memory that a `std::vector`
/// costs, if it is at least a quarter of what was received with it; as an argument it travels as a
/// vector does, and is shared where the function takes a `std::span<const T>`. Const members are
/// thread-safe.
template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T> && !std::is_same_v<T, bool>,
                "libpool: the elements of a Buffer are trivially copyable, and not bool");

 public:
  using value_type = T;
  using const_iterator = const T*;
  using iterator = const T*;

  Buffer() noexcept = default;
  Buffer(const Buffer&) noexcept = default;
  Buffer& operator=(const Buffer&) noexcept = default;
  /// Leaves an empty buffer.
  Buffer(Buffer&& other) noexcept
      : memory_(std::move(other.memory_)), elements_(std::exchange(other.elements_, {})) {}
  Buffer& operator=(Buffer&& other) noexcept {
    memory_ = std::move(other.memory_);
    elements_ = std::exchange(other.elements_, {});
    return *this;
  }
  ~Buffer() = default;

  /// Takes the vector over. Throws `std::bad_alloc`.
  Buffer(std::vector<T> elements) {
    auto held = std::make_shared<const std::vector<T>>(std::move(elements));
    elements_ = *held;
    memory_ = std::move(held);
  }

  /// Elements in memory that `memory` owns.
  Buffer(std::shared_ptr<const void> memory, std::span<const T> elements) noexcept
      : memory_(std::move(memory)), elements_(elements) {}

  [[nodiscard]] const T* data() const noexcept { return elements_.data(); }
  [[nodiscard]] std::size_t size() const noexcept { return elements_.size(); }
  [[nodiscard]] bool empty() const noexcept { return elements_.empty(); }
  [[nodiscard]] const T* begin() const noexcept { return data(); }
  [[nodiscard]] const T* end() const noexcept { return data() + size(); }
  /// `index` is less than `size()`.
  [[nodiscard]] const T& operator[](std::size_t index) const noexcept { return elements_[index]; }

 private:
  std::shared_ptr<const void> memory_;
  std::span<const T> elements_;
};

}  // namespace libpool
