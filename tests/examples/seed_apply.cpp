/// Three different functions, one after the other, on one pool.
#include <fmt/ranges.h>

#include <algorithm>
#include <string>

#include <libpool/libpool.hpp>

int add(int x, int y) { return x + y; }

std::string greet(const std::string& name) { return "Hello, " + name + "!"; }

std::vector<int> sorted(std::vector<int> numbers) {
  std::ranges::sort(numbers);
  return numbers;
}

int main() {
  libpool::ProcessPool pool(2);
  fmt::print("{}\n", pool.apply(add, 2, 3));
  fmt::print("{}\n", pool.apply(greet, "World"));
  fmt::print("{}\n", pool.apply(sorted, std::vector{3, 1, 2}));
}
