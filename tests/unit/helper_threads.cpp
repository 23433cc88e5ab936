/// Facts about the threads for callbacks and lazy inputs.
#include <libpool/detail/helper_threads.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <latch>
#include <memory>
#include <utility>

#include <tests/support/eventually.hpp>

using libpool::detail::HelperThreads;
using libpool::testing::eventually;

namespace {

template <class Function>
struct FunctionErrand final : libpool::detail::Errand {
  explicit FunctionErrand(Function function) : function_(std::move(function)) {}
  void perform() noexcept override { function_(); }
  Function function_;
};

template <class Function>
void post(HelperThreads& threads, Function function) {
  threads.post(std::make_shared<FunctionErrand<Function>>(std::move(function)));
}

}  // namespace

TEST_CASE("no thread is started before one is needed") {
  HelperThreads threads(4);
  CHECK(threads.count() == 0);
  threads.drain();
}

TEST_CASE("a thread that was prepared is there for the first errand") {
  HelperThreads threads(4);
  threads.prepare();
  threads.prepare();
  CHECK(threads.count() == 1);
  threads.stop();
  threads.prepare();
  CHECK(threads.count() == 0);
}

TEST_CASE("an idle thread is used again") {
  HelperThreads threads(4);
  for (int i = 0; i < 100; ++i) {
    post(threads, [] {});
    threads.drain();
    // A thread counts as idle when it waits again, a moment after the errand is done.
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  CHECK(threads.count() <= 2);
}

TEST_CASE("a slow errand delays no other until the bound is reached") {
  HelperThreads threads(3);
  std::promise<void> gate;
  auto opened = gate.get_future().share();
  std::atomic<int> ran{0};
  post(threads, [opened] { opened.wait(); });
  post(threads, [opened] { opened.wait(); });
  post(threads, [&] { ++ran; });
  CHECK(eventually([&] { return ran == 1; }));
  CHECK(threads.count() == 3);
  post(threads, [opened] { opened.wait(); });
  post(threads, [&] { ++ran; });
  CHECK(threads.count() == 3);
  gate.set_value();
  threads.drain();
  CHECK(ran == 2);
}

TEST_CASE("draining waits for what errands post") {
  HelperThreads threads(2);
  std::atomic<int> ran{0};
  post(threads, [&] {
    post(threads, [&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      post(threads, [&] { ++ran; });
      ++ran;
    });
    ++ran;
  });
  threads.drain();
  CHECK(ran == 3);
}

TEST_CASE("stopping runs what was posted, ends the threads, and can be repeated") {
  HelperThreads threads(2);
  std::atomic<int> ran{0};
  for (int i = 0; i < 50; ++i) post(threads, [&] { ++ran; });
  threads.stop();
  threads.stop();
  CHECK(ran == 50);
  CHECK(threads.count() == 0);
}

TEST_CASE("after the end, an errand is done at once by the caller") {
  HelperThreads threads(2);
  threads.stop();
  std::thread::id ran_on;
  post(threads, [&] { ran_on = std::this_thread::get_id(); });
  CHECK(ran_on == std::this_thread::get_id());
}

TEST_CASE("an errand is released when it is done") {
  HelperThreads threads(1);
  auto held = std::make_shared<int>(1);
  post(threads, [held] {});
  threads.drain();
  CHECK(eventually([&] { return held.use_count() == 1; }));
}
