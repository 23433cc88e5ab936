/// A program of somebody else that uses both pools, and catches the library's exceptions across its
/// boundary.
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <vector>

#include <libpool/libpool.hpp>

namespace {

int square(int x) { return x * x; }

int crash(int) { std::abort(); }

template <libpool::WorkerPool Pool>
bool squares() {
  Pool pool(2);
  return pool.map(square, std::vector{1, 2, 3}) == std::vector{1, 4, 9};
}

bool names_a_crash() {
  libpool::ProcessPool pool(1);
  try {
    pool.apply(crash, 0);
  } catch (const libpool::WorkerCrashed& error) {
    return error.signal() == SIGABRT;
  }
  return false;
}

}  // namespace

int main() {
  const bool works =
      squares<libpool::ProcessPool>() && squares<libpool::ThreadPool>() && names_a_crash();
  std::cout << (works ? "the consumer works\n" : "the consumer fails\n");
  return works ? EXIT_SUCCESS : EXIT_FAILURE;
}
