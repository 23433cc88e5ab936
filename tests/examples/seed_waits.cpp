/// The same four waits by map, imap and imap_unordered, on either pool: when does each result come?
///
/// map: all together, after the longest; imap: each as soon as it and those before it are there;
/// imap_unordered: each as soon as it is there.
#include <fmt/format.h>

#include <chrono>
#include <thread>

#include <libpool/libpool.hpp>

using Clock = std::chrono::steady_clock;

int wait_for(int tenths) {
  std::this_thread::sleep_for(std::chrono::milliseconds(100) * tenths);
  return tenths;
}

template <libpool::WorkerPool Pool>
void show_waits(const char* name) {
  Pool pool(4);
  const std::vector waits{0, 4, 5, 2};
  const auto show = [&](const char* call, auto&& results_of) {
    fmt::print("{} {}:", name, call);
    const Clock::time_point begin = Clock::now();
    for (const int tenths : results_of()) {
      const std::chrono::duration<double> passed = Clock::now() - begin;
      fmt::print(" {} (at {:.1f} s)", tenths, passed.count());
    }
    fmt::print("\n");
  };
  show("map", [&] { return pool.map(wait_for, waits); });
  show("imap", [&] { return pool.imap(wait_for, waits); });
  show("imap_unordered", [&] { return pool.imap_unordered(wait_for, waits); });
}

int main() {
  show_waits<libpool::ProcessPool>("ProcessPool");
  show_waits<libpool::ThreadPool>("ThreadPool");
}
