/// The loan of a caller's range to the threads that run a blocking call.
///
/// Runs in the parent, on the caller and on worker threads, where a crash is the program's. The
/// caller may leave before they are through, if the batch is abandoned: from then on nobody reads
/// what may be gone.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace libpool::detail {

/// Whether copying runs no code of the program's, which might wait for the caller.
template <class T>
inline constexpr bool copied_plainly =
    std::is_trivially_copyable_v<T> && std::is_copy_constructible_v<T> && !std::is_volatile_v<T>;
template <class T>
inline constexpr bool copied_plainly<std::vector<T, std::allocator<T>>> = copied_plainly<T>;
template <class T>
inline constexpr bool copied_plainly<std::basic_string<T, std::char_traits<T>, std::allocator<T>>> =
    true;

/// Thread-safe.
class Borrowing {
 public:
  /// Calls `copy`, which copies some of the range and waits for nobody; false if the caller has
  /// left. Throws what `copy` throws.
  template <class Copy>
  [[nodiscard]] bool read(const Copy& copy) {
    const Reading reading{word_};
    if ((word_.load() & left) != 0) return false;
    copy();
    return true;
  }

  /// The caller leaves, as soon as nobody reads.
  void end() noexcept {
    word_.fetch_or(left);
    for (std::uint32_t word = word_.load(); word != left; word = word_.load()) word_.wait(word);
  }

 private:
  struct Reading {
    explicit Reading(std::atomic<std::uint32_t>& word) noexcept : word_(word) { ++word_; }
    ~Reading() {
      if (--word_ == left) word_.notify_all();
    }
    std::atomic<std::uint32_t>& word_;
  };
  static constexpr std::uint32_t left = std::uint32_t{1} << 31;
  std::atomic<std::uint32_t> word_{0};  ///< those that read, and whether the caller has left
};

}  // namespace libpool::detail
