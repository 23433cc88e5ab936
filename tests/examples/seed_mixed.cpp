/// Single calls and a whole map at work on one pool at once.
#include <fmt/ranges.h>

#include <libpool/libpool.hpp>

int square(int x) { return x * x; }

int cube(int x) { return x * x * x; }

int main() {
  libpool::ProcessPool pool(4);
  auto one = pool.apply_async(cube, 10);
  auto many = pool.map_async(square, std::vector{1, 2, 3, 4, 5});
  auto other = pool.apply_async(square, 10);
  fmt::print("{} {} {}\n", one.get(), many.get(), other.get());
}
