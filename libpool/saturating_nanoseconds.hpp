/// The type of all timeouts: nanoseconds made from any duration, saturating instead of overflowing.
///
/// Runs in the parent; a plain value.
#pragma once

#include <chrono>
#include <cstdint>

namespace libpool {

/// `std::chrono::nanoseconds` that any `std::chrono::duration` converts to: what does not fit
/// becomes the longest (or the most negative) duration, a fraction is rounded up so that no
/// positive timeout becomes "none", and a NaN becomes zero.
struct SaturatingNanoseconds : std::chrono::nanoseconds {
  constexpr SaturatingNanoseconds() noexcept : std::chrono::nanoseconds(0) {}

  template <class Rep, class Period>
  constexpr SaturatingNanoseconds(const std::chrono::duration<Rep, Period>& given) noexcept
      : std::chrono::nanoseconds(saturate(given)) {}

 private:
  template <class Rep, class Period>
  static constexpr std::chrono::nanoseconds saturate(
      const std::chrono::duration<Rep, Period>& given) noexcept {
    // A long double holds every 64-bit count exactly on x86-64 and AArch64, so that only what is
    // out of range saturates.
    using Wide = std::chrono::duration<long double, std::nano>;
    constexpr auto longest = std::chrono::nanoseconds::max();
    constexpr auto shortest = std::chrono::nanoseconds::min();
    const long double wanted = Wide(given).count();
    if (wanted >= static_cast<long double>(longest.count())) return longest;
    if (wanted <= static_cast<long double>(shortest.count())) return shortest;
    if (wanted != wanted) return std::chrono::nanoseconds(0);
    const auto whole = static_cast<std::int64_t>(wanted);
    return std::chrono::nanoseconds(static_cast<long double>(whole) < wanted ? whole + 1 : whole);
  }
};

/// `now + duration`, at most the clock's last time point.
template <class Clock>
[[nodiscard]] constexpr typename Clock::time_point saturating_after(
    typename Clock::time_point now, SaturatingNanoseconds duration) noexcept {
  constexpr auto last = Clock::time_point::max();
  return duration.count() > 0 && duration > last - now ? last : now + duration;
}

}  // namespace libpool
