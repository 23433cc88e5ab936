/// Calls a function of two arguments with tuples.
#include <fmt/ranges.h>

#include <libpool/libpool.hpp>

int multiply(int x, int y) { return x * y; }

int main() {
  libpool::ProcessPool pool(4);
  const std::vector<std::tuple<int, int>> pairs{{1, 2}, {3, 4}, {5, 6}};
  fmt::print("{}\n", pool.starmap(multiply, pairs));
}
