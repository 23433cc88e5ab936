/// Squares five numbers in the background; a callback gets the results.
#include <fmt/ranges.h>

#include <libpool/libpool.hpp>

int square(int x) { return x * x; }

void show(const std::vector<int>& squares) { fmt::print("callback: {}\n", squares); }

int main() {
  libpool::ProcessPool pool(4);
  auto result = pool.map_async(square, std::vector{1, 2, 3, 4, 5}, {.callback = show});
  result.wait();
  fmt::print("done\n");
}
