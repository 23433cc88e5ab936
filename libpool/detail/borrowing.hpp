/// The loan of a caller's range to the threads that run a blocking call.
///
/// Runs in the parent. The caller may leave before they are through, if the batch is abandoned:
/// from then on nobody reads what may be gone.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace libpool::detail {

/// Thread-safe.
class Borrowing {
 public:
  /// Calls `copy`, which copies some of the range and returns soon; false if the caller has left.
  /// Throws what `copy` throws.
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
    while (word_.load() != left) std::this_thread::yield();
  }

 private:
  struct Reading {
    explicit Reading(std::atomic<std::uint32_t>& word) noexcept : word_(word) { ++word_; }
    ~Reading() { --word_; }
    std::atomic<std::uint32_t>& word_;
  };
  static constexpr std::uint32_t left = std::uint32_t{1} << 31;
  std::atomic<std::uint32_t> word_{0};  ///< those that read, and whether the caller has left
};

}  // namespace libpool::detail
