/// BS::thread_pool, from a checkout that the user names: `detach_task`, `detach_blocks` and
/// `submit_task`.
#include <BS_thread_pool.hpp>

#include "thread_peer.hpp"

namespace {

class Bs {
 public:
  explicit Bs(std::size_t workers) : pool_(workers) {}

  template <class F>
  void each(std::size_t size, F f) {
    for (std::size_t i = 0; i < size; ++i) pool_.detach_task([&f, i] { f(i); });
    pool_.wait();
  }

  template <class F>
  void ranges(std::size_t size, F f) {
    pool_.detach_blocks(std::size_t{0}, size, f);
    pool_.wait();
  }

  template <class F>
  void one(F f) {
    pool_.submit_task(f).get();
  }

 private:
  // A class up to version 4, a template with default arguments since.
  decltype(BS::thread_pool(std::size_t{1})) pool_;
};

}  // namespace

int main(int count, char** values) {
  return bench::guarded(
      [&] { return bench::run(bench::Arguments(count, values), bench::thread_workloads<Bs>()); });
}
