/// Forty tasks in chunks of ten on four workers: the tasks of a chunk run in one worker.
#include <fmt/ranges.h>

#include <ranges>
#include <set>

#include <libpool/libpool.hpp>

std::size_t worker_of(int) { return libpool::this_worker::index().value(); }

int main() {
  libpool::ProcessPool pool(4);
  const auto workers = pool.map(worker_of, std::views::iota(0, 40), {.chunksize = 10});
  for (std::size_t first = 0; first < workers.size(); first += 10) {
    const std::set chunk(&workers[first], &workers[first] + 10);
    fmt::print("tasks {} to {} ran in worker {}\n", first, first + 9, chunk);
  }
}
