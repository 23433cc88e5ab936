/// OpenMP: dynamic loops with chunks of one, static ones for trivial items.
#include "thread_peer.hpp"

namespace {

class OpenMp {
 public:
  explicit OpenMp(std::size_t workers) : threads_(static_cast<int>(workers)) {}

  template <class F>
  void each(std::size_t size, F f) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads_)
    for (std::size_t i = 0; i < size; ++i) f(i);
  }

  template <class F>
  void ranges(std::size_t size, F f) {
    const auto parts = static_cast<std::size_t>(threads_);
#pragma omp parallel for schedule(static, 1) num_threads(threads_)
    for (std::size_t i = 0; i < parts; ++i) f(size * i / parts, size * (i + 1) / parts);
  }

  /// A parallel region with one iteration: the caller is one of the threads, and waits for all.
  template <class F>
  void one(F f) {
    each(1, [&](std::size_t) { f(); });
  }

 private:
  int threads_;
};

}  // namespace

int main(int count, char** values) {
  return bench::guarded([&] {
    return bench::run(bench::Arguments(count, values), bench::thread_workloads<OpenMp>());
  });
}
