/// Taskflow, from a checkout that the user names: `for_each_index` and `async` of an executor.
#include <taskflow/algorithm/for_each.hpp>
#include <taskflow/taskflow.hpp>

#include "thread_peer.hpp"

namespace {

class Taskflow {
 public:
  explicit Taskflow(std::size_t workers) : executor_(workers) {}

  template <class F>
  void each(std::size_t size, F f) {
    for (std::size_t i = 0; i < size; ++i) executor_.silent_async([&f, i] { f(i); });
    executor_.wait_for_all();
  }

  template <class F>
  void ranges(std::size_t size, F f) {
    const std::size_t parts = 4 * executor_.num_workers();
    tf::Taskflow flow;
    flow.for_each_index(std::size_t{0}, parts, std::size_t{1},
                        [&](std::size_t i) { f(size * i / parts, size * (i + 1) / parts); });
    executor_.run(flow).wait();
  }

  template <class F>
  void one(F f) {
    executor_.async(f).get();
  }

 private:
  tf::Executor executor_;
};

}  // namespace

int main(int count, char** values) {
  return bench::guarded([&] {
    return bench::run(bench::Arguments(count, values), bench::thread_workloads<Taskflow>());
  });
}
