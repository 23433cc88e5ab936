/// oneTBB: `parallel_for` and `task_group`, in an arena of as many threads as there are workers.
#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

#include <future>

#include "thread_peer.hpp"

namespace {

/// What both forms share. The caller is one of the threads, as TBB means it.
class Arena {
 public:
  explicit Arena(std::size_t workers)
      : threads_(oneapi::tbb::global_control::max_allowed_parallelism, workers + 1),
        arena_(static_cast<int>(workers)) {}

  template <class F>
  void ranges(std::size_t size, F f) {
    using Range = oneapi::tbb::blocked_range<std::size_t>;
    arena_.execute([&] {
      oneapi::tbb::parallel_for(
          Range(0, size), [&](const Range& range) { f(range.begin(), range.end()); },
          oneapi::tbb::auto_partitioner());
    });
  }

 protected:
  oneapi::tbb::global_control threads_;
  oneapi::tbb::task_arena arena_;
};

struct ParallelFor : Arena {
  using Arena::Arena;

  /// Grain 1, no range larger: one task an item.
  template <class F>
  void each(std::size_t size, F f) {
    using Range = oneapi::tbb::blocked_range<std::size_t>;
    arena_.execute([&] {
      oneapi::tbb::parallel_for(
          Range(0, size, 1),
          [&](const Range& range) {
            for (std::size_t i = range.begin(); i < range.end(); ++i) f(i);
          },
          oneapi::tbb::simple_partitioner());
    });
  }

  /// A loop of one iteration would run in the caller; `enqueue` hands the call to a worker.
  template <class F>
  void one(F f) {
    std::promise<void> done;
    arena_.enqueue([&] {
      f();
      done.set_value();
    });
    done.get_future().wait();
  }
};

struct TaskGroup : Arena {
  using Arena::Arena;

  template <class F>
  void each(std::size_t size, F f) {
    arena_.execute([&] {
      oneapi::tbb::task_group group;
      for (std::size_t i = 0; i < size; ++i) group.run([&f, i] { f(i); });
      group.wait();
    });
  }

  /// The waiting caller takes part, and mostly runs the task itself.
  template <class F>
  void one(F f) {
    arena_.execute([&] {
      oneapi::tbb::task_group group;
      group.run(f);
      group.wait();
    });
  }
};

}  // namespace

int main(int count, char** values) {
  return bench::guarded([&] {
    const bench::Arguments arguments(count, values);
    return bench::run(arguments, arguments.contender == "task_group"
                                     ? bench::thread_workloads<TaskGroup>()
                                     : bench::thread_workloads<ParallelFor>());
  });
}
