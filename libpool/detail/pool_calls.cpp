/// The checks of arguments that need no types.
///
/// Runs in the parent, on the calling thread, before anything is taken from the input.
#include <libpool/detail/pool_calls.hpp>

#include <limits>
#include <stdexcept>
#include <string>

namespace libpool::detail {

void check_pool_arguments(std::size_t workers, const PoolOptions& options) {
  constexpr std::size_t most_workers = 4096;
  if (workers == 0 || workers > most_workers) {
    throw std::invalid_argument("libpool: a pool has 1 to 4096 workers");
  }
  check_size_option(options.max_tasks_per_child, "max_tasks_per_child");
  check_size_option(options.window, "window");
}

void check_size_option(const std::optional<std::size_t>& size, const char* name) {
  if (size && *size == 0) {
    throw std::invalid_argument(std::string("libpool: ") + name + " must be at least 1");
  }
}

void check_timeout(std::chrono::nanoseconds timeout) {
  if (timeout.count() < 0) throw std::invalid_argument("libpool: timeout must not be negative");
}

Lookahead lookahead_for(const PoolOptions& options, std::size_t workers) noexcept {
  if (options.window) return {*options.window, *options.window, true};
  const std::size_t least = 4 * workers;
  return {std::max(options.task_slots, least), least, false};
}

Window window_for(const ImapOptions& options, Lookahead lookahead, Cost cost) {
  const std::size_t chunk = options.chunksize.value_or(1);
  if (options.buffersize) {
    return {.chunk = std::min(chunk, *options.buffersize),
            .items = *options.buffersize,
            .only_this = true};
  }
  // Of large chunks few are needed, and memory is bounded by items. Where these are small, threads
  // wake each other less often.
  const std::size_t items_ahead = std::size_t{1} << (cost.small_results ? 14 : 13);
  const std::size_t wanted = std::max(lookahead.least, items_ahead / chunk);
  // Nobody can tell how far an input in memory has been pulled.
  const bool freely = cost.small_results && cost.input_in_memory && !lookahead.asked_for;
  const std::size_t most_chunks = freely ? wanted : lookahead.chunks;
  const std::size_t chunks = std::max<std::size_t>(std::min(wanted, most_chunks), 1);
  const std::size_t most = std::numeric_limits<std::size_t>::max();
  return {.chunk = chunk, .items = chunk > most / chunks ? most : chunk * chunks};
}

}  // namespace libpool::detail
