/// `std::async`: the standard library's, which starts a thread for each call.
#include <future>

#include "thread_peer.hpp"

namespace {

class Async {
 public:
  explicit Async(std::size_t workers) : workers_(workers) {}

  /// At most a few threads a worker at once: a million threads would not fit.
  template <class F>
  void each(std::size_t size, F f) {
    std::vector<std::future<void>> running(4 * workers_);
    for (std::size_t i = 0; i < size; ++i) {
      auto& place = running[i % running.size()];
      if (place.valid()) place.get();
      place = std::async(std::launch::async, [&f, i] { f(i); });
    }
    for (auto& each : running) {
      if (each.valid()) each.get();
    }
  }

  template <class F>
  void ranges(std::size_t size, F f) {
    each(workers_, [&](std::size_t i) { f(size * i / workers_, size * (i + 1) / workers_); });
  }

  template <class F>
  void one(F f) {
    std::async(std::launch::async, f).get();
  }

 private:
  std::size_t workers_;
};

}  // namespace

int main(int count, char** values) {
  return bench::guarded([&] {
    return bench::run(bench::Arguments(count, values), bench::thread_workloads<Async>());
  });
}
