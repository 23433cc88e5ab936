/// Chunk sizes: pure arithmetic on counts.
///
/// Runs in the parent. Neighbours: the stores ask it, the feeder pulls what it says.
#pragma once

#include <algorithm>
#include <cstddef>

namespace libpool::submit {

/// No automatic chunk is larger: past it, larger chunks save nothing and only unbalance the
/// workers.
inline constexpr std::size_t largest_automatic_chunk = std::size_t{1} << 18;

/// Chunk size of `map` for `items` items: four chunks a worker (the rule of Python's
/// `multiprocessing.pool`), rounded up, so that the last chunks can even out what the first ones
/// cost.
[[nodiscard]] constexpr std::size_t automatic_chunk(std::size_t items,
                                                    std::size_t workers) noexcept {
  const std::size_t chunks = 4 * std::max<std::size_t>(workers, 1);
  const std::size_t size = items / chunks + (items % chunks != 0 ? 1 : 0);
  return std::clamp<std::size_t>(size, 1, largest_automatic_chunk);
}

/// The same for an input whose size is not known: chunks grow with what has been pulled, so that
/// few items are spread over all workers and many cost little each.
[[nodiscard]] constexpr std::size_t growing_chunk(std::size_t pulled,
                                                  std::size_t workers) noexcept {
  return automatic_chunk(pulled + 1, workers);
}

}  // namespace libpool::submit
