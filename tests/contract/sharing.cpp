/// Contract: many threads, many workers, many pools; a pool inside a worker, in a forked child, in
/// a static object.
///
/// Runs in the test and in children that it forks; the tasks run in workers of both pools.
#include "contract.hpp"

#include <cstdio>
#include <cstdlib>
#include <set>
#include <stdexcept>
#include <thread>

using namespace contract;

namespace {

struct CannotBeEncoded {
  template <class Archive>
  void serialize(Archive&, unsigned) {
    throw std::runtime_error("not me");
  }
};

}  // namespace

TEST_CASE("a map none of whose items can be encoded fails while another thread waits in the pool") {
  ProcessPool pool(2);
  oracle::Fresh fresh;
  auto slow = pool.apply_async(wait_at_gate, 0);
  REQUIRE(oracle::arrived(1));
  std::this_thread::sleep_for(20ms);  // the pool's own thread sleeps now
  const std::vector<CannotBeEncoded> items(1000);
  CHECK_THROWS_AS(pool.map([](const CannotBeEncoded&) { return 1; }, items),
                  libpool::SerializationError);
  oracle::Fresh::open_gate();
  CHECK(slow.get() == 0);
}

BOTH_POOLS("twenty threads share a pool, each with its own calls") {
  Pool pool(3);
  std::atomic<int> right = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 20; ++t) {
      threads.emplace_back([&, t] {
        bool good = true;
        for (int i = 0; i < 10; ++i) {
          good = good && pool.map(square, numbers(50 + t)) == squares(50 + t);
          good = good && pool.apply(square, t) == t * t;
          good = good && pool.apply_async(square, i).get() == i * i;
          good = good && drain(pool.imap(square, numbers(t), {.chunksize = 3})) == squares(t);
          good = good && pool.map_async(square, numbers(t)).get() == squares(t);
        }
        right += good ? 1 : 0;
      });
    }
  }
  CHECK(right == 20);
}

BOTH_POOLS("threads that fail do not disturb threads that succeed") {
  Pool pool(2);
  std::atomic<int> right = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 10; ++t) {
      threads.emplace_back([&, t] {
        bool good = true;
        for (int i = 0; i < 20; ++i) {
          if (t % 2 == 0) {
            good = good && pool.map(square, numbers(30)) == squares(30);
          } else {
            good = good && caught<std::out_of_range>([&] { pool.map(throw_if_odd, numbers(30)); });
          }
        }
        right += good ? 1 : 0;
      });
    }
  }
  CHECK(right == 10);
}

BOTH_POOLS("a pool of two hundred workers starts, works and ends") {
  Pool pool(200);
  CHECK(pool.size() == 200);
  CHECK(pool.map(square, numbers(2000), {.chunksize = 1}) == squares(2000));
  CHECK(drain(pool.imap(square, numbers(500))) == squares(500));
}

BOTH_POOLS("two hundred workers all run at once") {
  Pool pool(200);
  oracle::Fresh fresh;
  auto handle = pool.map_async(wait_at_gate, numbers(200), {.chunksize = 1});
  CHECK(oracle::arrived(200));
  oracle::Fresh::open_gate();
  CHECK(handle.get() == numbers(200));
}

BOTH_POOLS("two pools work at once, and the end of one leaves the other alone") {
  Pool first(2);
  auto second = std::make_unique<Pool>(2U);
  auto handle = first.map_async(square, numbers(2000), {.chunksize = 1});
  CHECK(second->map(square, numbers(100)) == squares(100));
  second.reset();
  CHECK(handle.get() == squares(2000));
  CHECK(first.map(square, numbers(100)) == squares(100));
}

TEST_CASE("a pool of each kind work at once") {
  ProcessPool processes(2);
  ThreadPool threads(2);
  auto one = processes.map_async(square, numbers(500));
  auto two = threads.map_async(square, numbers(500));
  CHECK(one.get() == two.get());
}

BOTH_POOLS("ten pools work at once") {
  std::vector<std::unique_ptr<Pool>> pools;
  for (int i = 0; i < 10; ++i) pools.push_back(std::make_unique<Pool>(2U));
  std::vector<libpool::AsyncResult<std::vector<int>>> handles;
  for (auto& pool : pools) handles.push_back(pool->map_async(square, numbers(200)));
  for (auto& handle : handles) CHECK(handle.get() == squares(200));
}

BOTH_POOLS("a pool made inside a worker works") {
  Pool outer(2);
  const auto nested = [](int n) {
    Pool inner(2);
    int sum = 0;
    for (int value : inner.map(square, numbers(n))) sum += value;
    return sum + inner.apply_async(square, 1).get();
  };
  CHECK(outer.map(nested, std::vector<int>{1, 2, 3, 4}, {.chunksize = 1}) ==
        std::vector<int>{1, 2, 6, 15});
  CHECK(outer.map(square, numbers(5)) == squares(5));
}

TEST_CASE("a pool inside a worker of a pool inside a worker works") {
  ProcessPool outer(1);
  const int result = outer.apply(
      [](int x) {
        ProcessPool middle(1);
        return middle.apply(
            [](int y) {
              ProcessPool inner(1);
              return inner.apply(square, y);
            },
            x + 1);
      },
      2);
  CHECK(result == 9);
}

TEST_CASE("a process pool inside a worker thread, and a thread pool inside a worker process") {
  ThreadPool threads(2);
  ProcessPool processes(2);
  CHECK(threads.apply([] { return ProcessPool(1).apply(square, 3); }) == 9);
  CHECK(processes.apply([] { return ThreadPool(1).apply(square, 3); }) == 9);
}

TEST_CASE("tasks of one ThreadPool may submit to it") {
  ThreadPool pool(2);
  const auto handle = pool.apply([&pool] { return pool.apply_async(square, 3); });
  CHECK(handle.get() == 9);
}

BOTH_POOLS("in a forked child every member of the pool throws PoolError") {
  Pool pool(2);
  CHECK(pool.map(square, numbers(5)) == squares(5));
  const int refused = oracle::exit_of_child([&] {
    using libpool::PoolError;
    int count = 0;
    const auto refuses = [&](auto call) { count += caught<PoolError>(call) ? 1 : 0; };
    refuses([&] { pool.map(square, numbers(3)); });
    refuses([&] { pool.starmap(add, std::vector<std::pair<int, int>>{{1, 2}}); });
    refuses([&] { pool.apply(square, 1); });
    refuses([&] { static_cast<void>(pool.apply_async(square, 1)); });
    refuses([&] { static_cast<void>(pool.map_async(square, numbers(3))); });
    refuses([&] { static_cast<void>(pool.imap(square, numbers(3))); });
    refuses([&] { static_cast<void>(pool.imap_unordered(square, numbers(3))); });
    refuses([&] { static_cast<void>(pool.try_map(square, numbers(3))); });
    refuses([&] { static_cast<void>(pool.try_imap(square, numbers(3))); });
    refuses([&] { pool.close(); });
    refuses([&] { pool.terminate(); });
    refuses([&] { pool.join(); });
    refuses([&] { static_cast<void>(pool.size()); });
    refuses([&] { static_cast<void>(pool.stats()); });
    return count;
  });
  CHECK(refused == 14);
  CHECK(pool.map(square, numbers(5)) == squares(5));
}

BOTH_POOLS("in a forked child the destructor does nothing") {
  auto pool = std::make_unique<Pool>(2U);
  CHECK(oracle::exit_of_child([&] {
          pool.reset();
          return 7;
        }) == 7);
  CHECK(pool->map(square, numbers(5)) == squares(5));
}

BOTH_POOLS("a forked child may end while the pool works") {
  Pool pool(2);
  oracle::Fresh fresh;
  auto handle = pool.map_async(wait_at_gate, numbers(4), {.chunksize = 1});
  REQUIRE(oracle::arrived(2));
  CHECK(oracle::exit_of_child(
            [&] { return caught<libpool::PoolError>([&] { pool.close(); }) ? 3 : 4; }) == 3);
  oracle::Fresh::open_gate();
  CHECK(handle.get() == numbers(4));
}

TEST_CASE("a forked child may make a pool of its own") {
  ProcessPool pool(2);
  CHECK(oracle::exit_of_child([] { return ProcessPool(2).apply(square, 5); }) == 25);
  CHECK(pool.apply(square, 5) == 25);
}

namespace {

/// Uses a pool while it is encoded, and is so large that it is encoded with each chunk.
struct UsesPool {
  std::string text = std::string(8000, 'x');
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    if (Archive::is_saving::value && pool != nullptr) CHECK(pool->apply(add, 1, 2) == 3);
    archive & text;
  }
  static inline libpool::ProcessPool* pool = nullptr;
};
std::size_t size_with(const UsesPool& value, int x) {
  return value.text.size() + static_cast<std::size_t>(x);
}

}  // namespace

TEST_CASE("an encoder may use the pool, also while a consumer makes room for what it encodes") {
  libpool::ProcessPool pool(2);
  UsesPool::pool = &pool;
  std::size_t taken = 0;
  auto results =
      pool.imap(libpool::partial(size_with, UsesPool{}), numbers(500), {.buffersize = 4});
  for (const std::size_t size : results) CHECK(size == 8000 + taken++);
  UsesPool::pool = nullptr;
  CHECK(taken == 500);
}

TEST_CASE("a worker that uses the pool it works for gets PoolError") {
  static ProcessPool* outer = nullptr;
  alignas(ProcessPool) static std::byte storage[sizeof(ProcessPool)];
  outer = ::new (storage) ProcessPool(1);
  const struct End {
    ~End() { outer->~ProcessPool(); }
  } end;
  // The worker's copy of the object is as it was while the constructor ran.
  const bool refused = outer->apply([] {
    auto* copy = reinterpret_cast<ProcessPool*>(storage);
    return caught<libpool::PoolError>([&] { copy->apply(square, 1); }).has_value();
  });
  CHECK(refused);
  CHECK(outer->apply(square, 3) == 9);
}

TEST_CASE("a crash in a task of a ThreadPool ends the program") {
  const int status = oracle::status_of_child([] {
    ThreadPool(2).apply([] { ::kill(::getpid(), SIGKILL); });
    return 0;
  });
  CHECK(WIFSIGNALED(status));
}

TEST_CASE("tasks see the program's memory as it was when the pool was made") {
  static int value = 1;
  value = 5;
  ProcessPool pool(1);
  value = 6;
  CHECK(pool.apply([] { return value; }) == 5);
}

TEST_CASE("what a task changes in memory is not seen by the program") {
  static int value = 1;
  ProcessPool pool(1);
  CHECK(pool.apply([] { return ++value; }) == 2);
  CHECK(value == 1);
}

// Run as a program of its own by the test below: a pool in a static object is never closed.
TEST_CASE("program: a static pool that is never closed" * doctest::skip()) {
  static ProcessPool processes(2);
  static ThreadPool threads(2);
  const bool right = processes.map(square, numbers(10)) == squares(10) &&
                     threads.map(square, numbers(10)) == squares(10) &&
                     processes.apply_async(square, 2).get() == 4;
  std::exit(right ? 17 : 18);
}

// As above, with work still running.
TEST_CASE("program: a static pool that still works at exit" * doctest::skip()) {
  static ProcessPool processes(2);
  static auto handle = processes.map_async(wait_at_gate, numbers(5));
  if (!oracle::arrived(1)) std::abort();
  std::exit(17);
}

TEST_CASE("a program whose static pool is never closed ends as it should") {
  for (const char* name : {"program: a static pool that is never closed",
                           "program: a static pool that still works at exit"}) {
    const std::string filter = std::string("--test-case=") + name;
    const int status = oracle::exit_of_child([&] {
      ::execl("/proc/self/exe", "test", "--no-skip", filter.c_str(), static_cast<char*>(nullptr));
      return 98;
    });
    CHECK(status == 17);
  }
}
