/// Facts about the lock that favours one thread.
#include <libpool/ring/biased_lock.hpp>

#include <doctest/doctest.h>
#include <linux/membarrier.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include <libpool/detail/system.hpp>
#include <tests/support/replaced.hpp>

using namespace libpool;
using detail::system_calls;
using ring::BiasedLock;
using testing::Replaced;

namespace {

constexpr long rounds = 200'000;

/// What the kernel is asked for.
std::atomic<int> registrations{0};
std::atomic<int> fences{0};
int (*real_membarrier)(int) = nullptr;

/// Counts the calls of `membarrier`, which then do what they do.
Replaced<int (*)(int)> count_barriers() {
  registrations = fences = 0;
  real_membarrier = system_calls.membarrier;
  return {system_calls.membarrier, +[](int command) {
            ++(command == MEMBARRIER_CMD_PRIVATE_EXPEDITED ? fences : registrations);
            return real_membarrier(command);
          }};
}

/// Adds to a number that only the lock protects.
void add(BiasedLock& lock, long& number, long times) {
  for (long i = 0; i != times; ++i) {
    const std::lock_guard guard(lock);
    number = number + 1;
  }
}

}  // namespace

TEST_CASE("a thread that is alone for long asks the kernel once, and for no fence") {
  const auto counted = count_barriers();
  BiasedLock lock;
  long number = 0;
  add(lock, number, BiasedLock::often);
  CHECK(registrations == 0);
  add(lock, number, rounds);
  CHECK(registrations == 1);
  CHECK(fences == 0);
  CHECK(number == static_cast<long>(BiasedLock::often) + rounds);
}

TEST_CASE("the second thread asks for a fence, once") {
  const auto counted = count_barriers();
  BiasedLock lock;
  long number = 0;
  add(lock, number, rounds);
  std::jthread([&] { add(lock, number, rounds); }).join();
  add(lock, number, rounds);
  CHECK(fences == 1);
  CHECK(number == 3 * rounds);
}

TEST_CASE("a favoured thread inside keeps the others out") {
  BiasedLock lock;
  long number = 0;
  add(lock, number, rounds);
  lock.lock();
  std::atomic<bool> entered{false};
  std::jthread other([&] {
    const std::lock_guard guard(lock);
    entered = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK_FALSE(entered);
  lock.unlock();
  other.join();
  CHECK(entered);
}

TEST_CASE("nothing is lost where others come while one is favoured") {
  for (int repetition = 0; repetition < 20; ++repetition) {
    BiasedLock lock;
    long number = 0;
    std::atomic<bool> begun{false};
    {
      std::jthread favoured([&] {
        add(lock, number, rounds / 10);
        begun = true;
        add(lock, number, rounds);
      });
      while (!begun) std::this_thread::yield();
      std::jthread second([&] { add(lock, number, rounds / 10); });
      add(lock, number, rounds / 10);
    }
    REQUIRE(number == rounds + 3 * (rounds / 10));
  }
}

TEST_CASE("who was favoured once comes and goes while others hold the lock") {
  BiasedLock lock;
  long number = 0;
  add(lock, number, rounds);
  {
    std::jthread second([&] { add(lock, number, 10 * rounds); });
    std::jthread third([&] { add(lock, number, 10 * rounds); });
    add(lock, number, 10 * rounds);
  }
  CHECK(number == 31 * rounds);
}

TEST_CASE("where the kernel makes no fences, nobody is favoured") {
  const Replaced broken(system_calls.membarrier, +[](int) { return -1; });
  BiasedLock lock;
  long number = 0;
  {
    std::jthread other([&] { add(lock, number, rounds); });
    add(lock, number, rounds);
  }
  CHECK(number == 2 * rounds);
}

TEST_CASE("where it makes none any more, the other thread waits for long enough") {
  BiasedLock lock;
  long number = 0;
  add(lock, number, rounds);
  const Replaced broken(system_calls.membarrier, +[](int) { return -1; });
  std::jthread([&] { add(lock, number, rounds); }).join();
  CHECK(number == 2 * rounds);
}
