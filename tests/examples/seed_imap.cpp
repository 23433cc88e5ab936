/// Fifty tasks, their results in order as they come.
#include <fmt/format.h>

#include <ranges>

#include <libpool/libpool.hpp>

int square(int x) { return x * x; }

int main() {
  libpool::ProcessPool pool(4);
  for (const int result : pool.imap(square, std::views::iota(0, 50))) fmt::print("{}\n", result);
}
