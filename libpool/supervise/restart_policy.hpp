/// When a worker that failed to start is started again, and when the pool gives up.
///
/// Pure: takes times and returns times; the supervisor in the parent acts on it. Only failures
/// before a worker's first claim are reported to it, so tasks that crash never break a pool.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <deque>
#include <new>
#include <optional>

namespace libpool::supervise {

/// Restart intensity and period as in Erlang/OTP's supervisors: more than `intensity` failures
/// within `period` are too many. A resolved item resets the count. Between failures the pause
/// doubles from 1 ms up to `longest_pause`.
class RestartPolicy {
 public:
  using Clock = std::chrono::steady_clock;

  RestartPolicy(std::size_t intensity, std::chrono::nanoseconds period,
                std::chrono::nanoseconds longest_pause)
      : intensity_(intensity), period_(period), longest_pause_(longest_pause) {}

  /// A worker failed to start at `now`: when to try again, or nothing if that was one too many, or
  /// there is no memory to count it with.
  [[nodiscard]] std::optional<Clock::time_point> failed(Clock::time_point now) noexcept {
    while (!failures_.empty() && now - failures_.front() > period_) failures_.pop_front();
    try {
      failures_.push_back(now);
    } catch (const std::bad_alloc&) {
      return std::nullopt;
    }
    if (failures_.size() > intensity_) return std::nullopt;
    const auto pause = std::min(pause_, std::chrono::nanoseconds(Clock::time_point::max() - now));
    const auto doubled = pause_ > longest_pause_ / 2 ? longest_pause_ : pause_ * 2;
    pause_ = std::min(longest_pause_, std::max<std::chrono::nanoseconds>(doubled, first_pause));
    return now + pause;
  }

  /// An item was resolved: the pool works.
  void resolved() noexcept {
    failures_.clear();
    pause_ = std::chrono::nanoseconds{0};
  }

 private:
  static constexpr std::chrono::nanoseconds first_pause = std::chrono::milliseconds{1};

  std::size_t intensity_;
  std::chrono::nanoseconds period_;
  std::chrono::nanoseconds longest_pause_;
  std::chrono::nanoseconds pause_{0};  ///< none after the first failure: most are chance
  std::deque<Clock::time_point> failures_;
};

}  // namespace libpool::supervise
