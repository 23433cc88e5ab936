/// Pools en masse: `pools [<count>]` makes and ends so many of them, one after the other, with a
/// map in between, and watches what the process holds.
///
/// Runs in the host. Descriptors, threads, children and shared mappings are the same after every
/// thousandth part as after the first; the memory in use levels off.
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>

#include <libpool/libpool.hpp>
#include <tests/support/footprint.hpp>
#include <tests/support/oracle.hpp>

namespace {

int twice(int item) { return 2 * item; }

/// One pool's life: small, large, with a thread in the background, terminated or closed.
bool live(int number) {
  libpool::ProcessPool pool(1 + static_cast<std::size_t>(number % 3));
  std::vector<int> items(20);
  std::iota(items.begin(), items.end(), number);
  if (pool.map(twice, items)[19] != 2 * (number + 19)) return false;
  if (number % 4 == 0 && pool.map_async(twice, items).get()[0] != 2 * number) return false;
  if (number % 5 == 0) {
    pool.close();
    pool.join();
  }
  return true;
}

std::size_t heap_in_use() { return ::mallinfo2().uordblks; }

}  // namespace

int main(int argc, char** argv) {
  const int count = argc > 1 ? std::atoi(argv[1]) : 100'000;
  const int warm_up = std::clamp(count / 20, 10, 500);
  const int between_looks = std::max(count / 20, 1);
  const auto began = std::chrono::steady_clock::now();
  libpool::testing::Footprint before;
  std::size_t heap = 0;
  std::size_t resident = 0;
  for (int number = 0; number < count + warm_up; ++number) {
    if (!live(number)) {
      std::printf("pool %d gave a wrong result\n", number);
      return 1;
    }
    const int done = number + 1 - warm_up;
    if (done < 0 || (done % between_looks != 0 && done != count)) continue;
    if (done == 0) {
      before = libpool::testing::Footprint::now();
      heap = heap_in_use();
      resident = oracle::resident_bytes();
    }
    const std::string growth = libpool::testing::settled_growth(before);
    const auto seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    std::printf(
        "%7d pools, %6.1f s: %zu descriptors, %zu threads, %zu KiB of heap, %zu KiB resident\n",
        done, seconds, libpool::testing::Footprint::now().descriptors.size(),
        libpool::testing::Footprint::now().threads.size(), heap_in_use() / 1024,
        oracle::resident_bytes() / 1024);
    std::fflush(stdout);
    if (!growth.empty()) {
      std::printf("left behind: %s\n", growth.c_str());
      return 1;
    }
    // A leak of one byte in sixteen pools is more than an allocator's own unevenness.
    const std::size_t slack = 65'536 + static_cast<std::size_t>(done) / 16;
    if (heap_in_use() > heap + slack) {
      std::printf("the heap has grown by %zu bytes\n", heap_in_use() - heap);
      return 1;
    }
    if (!oracle::sanitized && oracle::resident_bytes() > resident + (std::size_t{4} << 20)) {
      std::printf("the process has grown by %zu KiB\n",
                  (oracle::resident_bytes() - resident) / 1024);
      return 1;
    }
  }
  return 0;
}
