/// Facts about the threads for callbacks and lazy inputs.
#include <libpool/detail/helper_threads.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <latch>

#include <tests/support/eventually.hpp>

using libpool::detail::HelperThreads;
using libpool::testing::eventually;

TEST_CASE("no thread is started before one is needed") {
  HelperThreads threads(4);
  CHECK(threads.count() == 0);
  threads.drain();
}

TEST_CASE("an idle thread is used again") {
  HelperThreads threads(4);
  for (int i = 0; i < 100; ++i) {
    threads.post([] {});
    threads.drain();
    // A thread counts as idle when it waits again, a moment after the function has returned.
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  CHECK(threads.count() <= 2);
}

TEST_CASE("a slow function delays no other until the bound is reached") {
  HelperThreads threads(3);
  std::promise<void> gate;
  auto opened = gate.get_future().share();
  std::atomic<int> ran{0};
  threads.post([opened] { opened.wait(); });
  threads.post([opened] { opened.wait(); });
  threads.post([&] { ++ran; });
  CHECK(eventually([&] { return ran == 1; }));
  CHECK(threads.count() == 3);
  threads.post([opened] { opened.wait(); });
  threads.post([&] { ++ran; });
  CHECK(threads.count() == 3);
  gate.set_value();
  threads.drain();
  CHECK(ran == 2);
}

TEST_CASE("draining waits for what posted functions post") {
  HelperThreads threads(2);
  std::atomic<int> ran{0};
  threads.post([&] {
    threads.post([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      threads.post([&] { ++ran; });
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
  for (int i = 0; i < 50; ++i) threads.post([&] { ++ran; });
  threads.stop();
  threads.stop();
  CHECK(ran == 50);
  CHECK(threads.count() == 0);
}

TEST_CASE("after the end, a posted function runs at once in the caller") {
  HelperThreads threads(2);
  threads.stop();
  std::thread::id ran_on;
  threads.post([&] { ran_on = std::this_thread::get_id(); });
  CHECK(ran_on == std::this_thread::get_id());
}

TEST_CASE("what a function holds is released when it has run") {
  HelperThreads threads(1);
  auto held = std::make_shared<int>(1);
  threads.post([held] {});
  threads.drain();
  CHECK(eventually([&] { return held.use_count() == 1; }));
}
