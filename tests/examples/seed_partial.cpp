/// Binds the first argument of a function, like functools.partial.
#include <fmt/ranges.h>

#include <libpool/libpool.hpp>

int power(int exponent, int base) {
  int result = 1;
  for (int i = 0; i < exponent; ++i) result *= base;
  return result;
}

int main() {
  libpool::ProcessPool pool(4);
  fmt::print("{}\n", pool.map(libpool::partial(power, 3), std::vector{1, 2, 3, 4, 5}));
}
