/// Asks a handle now and then whether its result is there.
#include <fmt/format.h>

#include <chrono>
#include <thread>

#include <libpool/libpool.hpp>

using namespace std::chrono_literals;

int slow_square(int x) {
  std::this_thread::sleep_for(500ms);
  return x * x;
}

int main() {
  libpool::ProcessPool pool(1);
  auto result = pool.apply_async(slow_square, 7);
  fmt::print("ready: {}\n", result.ready());
  while (!result.ready()) std::this_thread::sleep_for(20ms);
  fmt::print("ready: {}, successful: {}, result: {}\n", result.ready(), result.successful(),
             result.get());
}
