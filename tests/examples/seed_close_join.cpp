/// Fifty tasks without a result: close the pool, then wait until all have run.
#include <fmt/format.h>

#include <ranges>

#include <libpool/libpool.hpp>

void report(int number) { fmt::print("task {} ran\n", number); }

int main() {
  libpool::ProcessPool pool(4);
  for (const int number : std::views::iota(0, 50)) pool.apply_async(report, number);
  pool.close();
  pool.join();
  fmt::print("all done\n");
}
