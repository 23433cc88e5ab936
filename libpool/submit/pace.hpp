/// How fast workers work: pure arithmetic on what they report.
///
/// Runs in the parent, under the engine's mutex. The busy time is the workers' own word: whatever
/// they claim, a driver only naps once more or once less, and bundles are longer or shorter.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace libpool::submit {

/// The mean time that a chunk, or an item, takes, from those that ended lately. Not thread-safe.
class Pace {
 public:
  /// `busy`: ns that all workers have spent on them so far; `ended`: how many have ended.
  void update(std::uint64_t busy, std::uint64_t ended) noexcept {
    if (ended - ended_ < chunks_a_sample) return;
    // Less than before: a worker has been replaced, whose successor begins at zero.
    if (busy >= busy_) mean_ = (busy - busy_) / (ended - ended_);
    busy_ = busy;
    ended_ = ended;
  }

  /// How long so many workers take for so many chunks; zero while that is unknown.
  [[nodiscard]] std::chrono::nanoseconds time_for(std::size_t chunks,
                                                  std::size_t workers) const noexcept {
    constexpr std::uint64_t longest = 1'000'000'000;  // so that no product is too large
    return std::chrono::nanoseconds{std::min(mean_, longest) * chunks / workers};
  }

 private:
  static constexpr std::uint64_t chunks_a_sample = 8;

  std::uint64_t busy_ = 0;
  std::uint64_t ended_ = 0;
  std::uint64_t mean_ = 0;  ///< ns
};

}  // namespace libpool::submit
