/// Bounded waiting for tests: a condition either comes true within a generous limit, or the test
/// fails.
#pragma once

#include <chrono>
#include <thread>

namespace libpool::testing {

/// Long enough for a loaded machine under a sanitizer; only a failing test ever waits so long.
inline constexpr std::chrono::seconds patience{20};

/// True as soon as `condition()` is; false if it still is not after `limit`.
template <class Condition>
[[nodiscard]] bool eventually(Condition condition, std::chrono::nanoseconds limit = patience) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace libpool::testing
