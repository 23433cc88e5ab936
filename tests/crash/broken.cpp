/// Pools whose workers cannot start, and workers that run out of memory.
///
/// The tests run in the parent; what fails, fails in workers.
#include <sys/mman.h>
#include <sys/resource.h>

#include "matrix.hpp"

using namespace crash;
using libpool::PoolBroken;
using libpool::ProcessPool;
using namespace std::chrono_literals;

namespace {

int plain(int item) { return item; }
std::vector<int> numbers(int n) {
  std::vector<int> values;
  for (int i = 0; i < n; ++i) values.push_back(i);
  return values;
}

/// Runs `call`, which must throw PoolBroken; gives its cause.
template <class Call>
std::exception_ptr cause_of(Call call) {
  try {
    call();
  } catch (const PoolBroken& error) {
    return error.cause();
  }
  return nullptr;
}

/// Asks the pool something whenever it is decoded.
struct Curious : std::exception {
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & submitted;
    if constexpr (Archive::is_loading::value) submitted = pool->stats().submitted;
  }
  std::uint64_t submitted = 0;
  static ProcessPool* pool;
};
ProcessPool* Curious::pool = nullptr;

constexpr std::size_t mega = std::size_t{1} << 20;

// A sanitizer's shadow memory does not fit under a limit on address space.
constexpr bool limits_work = !oracle::sanitized;

/// Allocates without end.
std::size_t devour() {
  std::vector<std::unique_ptr<char[]>> all;
  for (;;) {
    all.push_back(std::make_unique<char[]>(mega));
    std::fill_n(all.back().get(), mega, 'x');
  }
}

}  // namespace

TEST_CASE("an initializer that always throws breaks the pool, with its exception as the cause") {
  ProcessPool pool(2, {.initializer = [] { throw std::out_of_range("no start"); }});
  const auto cause = cause_of([&] { pool.map(plain, numbers(10)); });
  REQUIRE(cause != nullptr);
  CHECK_THROWS_AS(std::rethrow_exception(cause), std::out_of_range);
}

TEST_CASE("an initializer that always dies breaks the pool, with a WorkerCrashed as the cause") {
  for (const std::size_t death : {8U, 31U}) {
    CAPTURE(deaths[death].name);
    ProcessPool pool(2, {.initializer = [death] { deaths[death].die(); }});
    const auto cause = cause_of([&] { pool.apply(plain, 1); });
    REQUIRE(cause != nullptr);
    try {
      std::rethrow_exception(cause);
    } catch (const libpool::WorkerCrashed& error) {
      CHECK(error.signal() == deaths[death].signal);
      CHECK(error.exit_status() == deaths[death].exit_status);
    }
  }
}

TEST_CASE("the exception that breaks a pool may use the pool while it is decoded") {
  libpool::register_exception<Curious>();
  ProcessPool pool(1, {.initializer = [] {
                     oracle::pass_gate();
                     throw Curious();
                   }});
  oracle::Fresh fresh;
  Curious::pool = &pool;
  const auto one = pool.apply_async(plain, 1);
  oracle::Fresh::open_gate();
  const auto cause = cause_of([&] { (void)one.get(); });
  REQUIRE(cause != nullptr);
  try {
    std::rethrow_exception(cause);
  } catch (const Curious& error) {
    CHECK(error.submitted == 1);
  }
}

TEST_CASE("a broken pool gives PoolBroken to pending handles and to later submissions") {
  ProcessPool pool(1, {.initializer = [] {
                     oracle::pass_gate();
                     throw std::runtime_error("no start");
                   }});
  oracle::Fresh fresh;
  auto one = pool.apply_async(plain, 1);
  auto many = pool.map_async(plain, numbers(100));
  auto range = pool.imap(plain, numbers(100));
  oracle::Fresh::open_gate();
  CHECK_THROWS_AS(one.get(), PoolBroken);
  CHECK_THROWS_AS(many.get(), PoolBroken);
  CHECK_THROWS_AS(range.next(), PoolBroken);
  CHECK_THROWS_AS(pool.apply(plain, 1), PoolBroken);
  CHECK_THROWS_AS(pool.map(plain, numbers(3)), PoolBroken);
  CHECK_THROWS_AS(pool.apply_async(plain, 1), PoolBroken);
  CHECK_THROWS_AS(pool.map_async(plain, numbers(3)), PoolBroken);
  CHECK_THROWS_AS(pool.imap(plain, numbers(3)), PoolBroken);
}

TEST_CASE("a broken pool calls error callbacks") {
  std::atomic<int> called = 0;
  {
    ProcessPool pool(1, {.initializer = [] {
                       oracle::pass_gate();
                       throw std::runtime_error("no start");
                     }});
    oracle::Fresh fresh;
    auto handle = pool.apply_async(plain, std::tuple(1),
                                   {.error_callback = [&](std::exception_ptr) { ++called; }});
    oracle::Fresh::open_gate();
    CHECK_THROWS_AS(handle.get(), PoolBroken);
  }
  CHECK(called == 1);
}

TEST_CASE("a broken pool can be closed, joined, terminated and asked") {
  ProcessPool pool(1, {.initializer = [] { throw std::runtime_error("no start"); }});
  CHECK_THROWS_AS(pool.apply(plain, 1), PoolBroken);
  CHECK(pool.size() == 1);
  CHECK(pool.stats().succeeded == 0);
  pool.close();
  pool.join();
  pool.terminate();
}

TEST_CASE("an initializer that fails a few times delays the pool and does not break it") {
  oracle::Fresh fresh;
  ProcessPool pool(2, {.initializer = [] {
                     if (++oracle::page.words[8] <= 5) throw std::runtime_error("not yet");
                   }});
  CHECK(pool.map(plain, numbers(50)) == numbers(50));
}

TEST_CASE("restart_intensity is the number of failed starts that are tolerated") {
  oracle::Fresh fresh;
  ProcessPool pool(1, {.initializer =
                           [] {
                             ++oracle::page.words[8];
                             throw std::runtime_error("no start");
                           },
                       .restart_intensity = 4,
                       .restart_backoff = 1ms});
  CHECK_THROWS_AS(pool.apply(plain, 1), PoolBroken);
  CHECK(oracle::page.words[8] == 5);
}

TEST_CASE("a restart_intensity of zero breaks the pool at the first failed start") {
  oracle::Fresh fresh;
  ProcessPool pool(1, {.initializer =
                           [] {
                             ++oracle::page.words[8];
                             throw std::runtime_error("no start");
                           },
                       .restart_intensity = 0});
  CHECK_THROWS_AS(pool.apply(plain, 1), PoolBroken);
  CHECK(oracle::page.words[8] == 1);
}

TEST_CASE("crashes of items never break the pool") {
  ProcessPool pool(2, {.restart_intensity = 0});
  for (auto& outcome :
       pool.try_map([](int) -> int { ::_exit(1); }, numbers(100), {.chunksize = 5})) {
    CHECK_THROWS_AS(outcome.value(), libpool::WorkerCrashed);
  }
  CHECK(pool.apply(plain, 4) == 4);
}

TEST_CASE("an item resolved resets the count of failed starts") {
  oracle::Fresh fresh;
  ProcessPool pool(1, {.initializer =
                           [] {
                             if (++oracle::page.words[8] % 3 != 0)
                               throw std::runtime_error("not yet");
                           },
                       .max_tasks_per_child = 1,
                       .restart_intensity = 3});
  CHECK(pool.map(plain, numbers(30), {.chunksize = 1}) == numbers(30));
}

TEST_CASE("an item resolved by a crash or a timeout resets the count too") {
  const libpool::PoolOptions options{.initializer =
                                         [] {
                                           if (++oracle::page.words[8] % 3 != 0)
                                             throw std::runtime_error("not yet");
                                         },
                                     .restart_intensity = 3};
  {
    oracle::Fresh fresh;
    ProcessPool pool(1, options);
    for (auto& outcome :
         pool.try_map([](int) -> int { ::_exit(1); }, numbers(10), {.chunksize = 1})) {
      CHECK_THROWS_AS(outcome.value(), libpool::WorkerCrashed);
    }
  }
  oracle::Fresh fresh;
  ProcessPool pool(1, options);
  for (auto& outcome :
       pool.try_map([](int) -> int { return ::pause(); }, numbers(10), {.timeout = 5ms})) {
    CHECK_THROWS_AS(outcome.value(), libpool::TaskTimeout);
  }
}

TEST_CASE("an allocation without end under memory_limit is an outcome, and the pool lives") {
  if (!limits_work) return;
  ProcessPool pool(2, {.memory_limit = 256 * mega});
  for (int round = 0; round < 3; ++round) {
    bool seen = false;
    try {
      pool.apply(devour);
    } catch (const std::bad_alloc&) {
      seen = true;
    } catch (const libpool::WorkerCrashed&) {
      seen = true;
    }
    CHECK(seen);
    CHECK(pool.map(plain, numbers(20)) == numbers(20));
  }
}

TEST_CASE("memory_limit is what a worker may map beyond what it starts with") {
  if (!limits_work) return;
  const std::vector<char> ballast(512 * mega, 'x');
  ProcessPool pool(1, {.memory_limit = 128 * mega});
  const auto maps = [](std::size_t bytes) {
    void* memory = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    ::munmap(memory, bytes);
    return true;
  };
  CHECK(pool.apply(maps, 64 * mega));
  CHECK_FALSE(pool.apply(maps, 160 * mega));
  CHECK(ballast.back() == 'x');
}

TEST_CASE("an item beyond memory_limit leaves the other items of its chunk their results") {
  if (!limits_work) return;
  ProcessPool pool(2, {.memory_limit = 128 * mega});
  const auto outcomes = pool.try_map(
      [](int item) {
        if (item == 3) static_cast<void>(devour());
        return item;
      },
      numbers(10), {.chunksize = 10});
  for (std::size_t i = 0; i < 10; ++i) CHECK(outcomes[i].has_value() == (i != 3));
}

TEST_CASE("an argument that does not fit under memory_limit is an outcome") {
  if (!limits_work) return;
  ProcessPool pool(1, {.memory_limit = 64 * mega});
  const auto size = [](const std::vector<int>& values) { return values.size(); };
  CHECK_THROWS(pool.apply(size, std::vector<int>(64 * mega)));
  CHECK(pool.apply(plain, 3) == 3);
}

TEST_CASE("a pool larger than the memory that may be reserved fails in its constructor") {
  CHECK_THROWS(ProcessPool(1, {.result_ring = std::size_t{1} << 50}));
}

TEST_CASE("a pool that cannot open descriptors fails in its constructor and leaks none") {
  // The sanitizer of undefined behaviour needs a pipe of its own to look at an object.
  if (oracle::sanitized) return;
  const int status = oracle::exit_of_child([] {
    ProcessPool first(1);
    for (rlim_t limit = 3; limit < 64; ++limit) {
      const struct rlimit few{limit, 1024};
      ::setrlimit(RLIMIT_NOFILE, &few);
      try {
        ProcessPool pool(2);
        const bool right = pool.map(plain, numbers(5)) == numbers(5);
        if (!right) return 4;
      } catch (const std::system_error&) {
      } catch (const libpool::PoolError&) {
      }
    }
    return first.apply(plain, 3);
  });
  CHECK(status == 3);
}
