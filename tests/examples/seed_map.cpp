/// Squares five numbers.
#include <fmt/ranges.h>

#include <libpool/libpool.hpp>

int square(int x) { return x * x; }

int main() {
  libpool::ProcessPool pool(4);
  fmt::print("{}\n", pool.map(square, std::vector{1, 2, 3, 4, 5}));
}
