/// Chunk sizes: pure arithmetic on counts.
///
/// Runs in the parent. Neighbours: the stores ask it, the feeder pulls what it says.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace libpool::submit {

/// No automatic chunk is larger: past it, larger chunks save nothing, only unbalance the workers
/// and make encoding, running and collecting wait for each other.
inline constexpr std::size_t largest_automatic_chunk = std::size_t{1} << 14;

/// No automatic chunk takes more items once its arguments are so many bytes: larger payloads leave
/// the caches, and the parent's copy of one and the workers' reading of another go hand in hand.
inline constexpr std::size_t largest_automatic_payload = std::size_t{1} << 20;

/// Chunk size of `map` for `items` items, of which `pulled` are in chunks already: four chunks a
/// worker out of what is left, rounded up. The first one is that of Python's
/// `multiprocessing.pool`; the later ones shrink (guided self-scheduling: Polychronopoulos and
/// Kuck, 1987), down to a sixteenth of it, so that the last ones even out what the first ones cost.
[[nodiscard]] constexpr std::size_t automatic_chunk(std::size_t items, std::size_t pulled,
                                                    std::size_t workers) noexcept {
  const std::size_t chunks = 4 * std::max<std::size_t>(workers, 1);
  const std::size_t left = items - std::min(pulled, items);
  const std::size_t share = left / chunks + (left % chunks != 0 ? 1 : 0);
  const std::size_t least = items / chunks / 16;
  return std::clamp<std::size_t>(std::max(share, least), 1, largest_automatic_chunk);
}

/// The same for an input whose size is not known: chunks grow with what has been pulled, so that
/// few items are spread over all workers and many cost little each.
[[nodiscard]] constexpr std::size_t growing_chunk(std::size_t pulled,
                                                  std::size_t workers) noexcept {
  return automatic_chunk(pulled + 1, 0, workers);
}

/// Items of a bundle, where each would be a chunk by itself: as many as take about `enough`, so
/// that handing one over hardly counts. `item`: the time that one takes, zero if it is not known.
[[nodiscard]] constexpr std::size_t bundle(std::chrono::nanoseconds item,
                                           std::chrono::nanoseconds enough, std::size_t pulled,
                                           std::size_t workers) noexcept {
  constexpr std::size_t most = 64;
  if (item.count() <= 0) return 1;
  const auto items = static_cast<std::size_t>(enough / item);
  return std::clamp<std::size_t>(items, 1, std::min(most, growing_chunk(pulled, workers)));
}

}  // namespace libpool::submit
