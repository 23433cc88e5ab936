/// Boost.Asio: `thread_pool` and `post`.
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>
#include <latch>

#include "thread_peer.hpp"

namespace {

class Asio {
 public:
  explicit Asio(std::size_t workers) : workers_(workers), pool_(workers) {}
  ~Asio() { pool_.join(); }

  template <class F>
  void each(std::size_t size, F f) {
    std::latch done(static_cast<std::ptrdiff_t>(size));
    for (std::size_t i = 0; i < size; ++i) {
      boost::asio::post(pool_, [&f, &done, i] {
        f(i);
        done.count_down();
      });
    }
    done.wait();
  }

  /// Asio has no loops: four parts a worker, the usual choice.
  template <class F>
  void ranges(std::size_t size, F f) {
    const std::size_t parts = 4 * workers_;
    each(parts, [&](std::size_t i) { f(size * i / parts, size * (i + 1) / parts); });
  }

  template <class F>
  void one(F f) {
    boost::asio::post(pool_, boost::asio::use_future(f)).get();
  }

 private:
  std::size_t workers_;
  boost::asio::thread_pool pool_;
};

}  // namespace

int main(int count, char** values) {
  return bench::guarded(
      [&] { return bench::run(bench::Arguments(count, values), bench::thread_workloads<Asio>()); });
}
