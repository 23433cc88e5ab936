/// Contract: constructors, options and their checks, `initializer`, `max_tasks_per_child`, the
/// concept.
///
/// Runs in the test; the tasks run in workers of both pools.
#include "contract.hpp"

#include <sched.h>

#include <atomic>
#include <ranges>
#include <set>
#include <thread>
#include <type_traits>

using namespace contract;

static_assert(libpool::WorkerPool<ProcessPool>);
static_assert(libpool::WorkerPool<ThreadPool>);
static_assert(!libpool::WorkerPool<int>);
static_assert(!libpool::WorkerPool<std::vector<int>>);
static_assert(std::is_aggregate_v<libpool::PoolOptions>);
static_assert(std::is_aggregate_v<libpool::MapOptions>);
static_assert(std::is_aggregate_v<libpool::ImapOptions>);
static_assert(std::is_aggregate_v<libpool::ApplyOptions<int>>);
static_assert(std::is_aggregate_v<libpool::ApplyOptions<void>>);
static_assert(std::is_aggregate_v<libpool::MapAsyncOptions<int>>);
static_assert(std::is_aggregate_v<libpool::MapAsyncOptions<void>>);

namespace {

/// Generic code on the concept.
template <libpool::WorkerPool Pool>
int sum_of_squares(Pool& pool, int n) {
  int sum = 0;
  for (int value : pool.map(square, numbers(n))) sum += value;
  return sum;
}

}  // namespace

BOTH_POOLS("generic code on the concept WorkerPool works with a pool") {
  Pool pool(2);
  CHECK(sum_of_squares(pool, 4) == 14);
}

BOTH_POOLS("all options have their members in the documented order") {
  [[maybe_unused]] const libpool::PoolOptions pool_options{
      .initializer = [] {}, .max_tasks_per_child = 5, .memory_limit = std::nullopt};
  [[maybe_unused]] const libpool::MapOptions map_options{
      .chunksize = 1, .timeout = 1s, .retries = 2};
  [[maybe_unused]] const libpool::ImapOptions imap_options{
      .chunksize = 1, .timeout = 1s, .retries = 2, .buffersize = 3};
  [[maybe_unused]] const libpool::ApplyOptions<int> apply_options{
      .timeout = 1s,
      .retries = 2,
      .callback = [](int) {},
      .error_callback = [](std::exception_ptr) {}};
  [[maybe_unused]] const libpool::MapAsyncOptions<int> async_options{
      .chunksize = 1,
      .timeout = 1s,
      .retries = 2,
      .callback = [](const std::vector<int>&) {},
      .error_callback = [](std::exception_ptr) {}};
  [[maybe_unused]] const libpool::MapAsyncOptions<void> void_options{.callback = [] {}};
  Pool pool(1, pool_options);
  CHECK(pool.map(square, numbers(3), map_options) == squares(3));
}

BOTH_POOLS("the defaults are no chunk size, no timeout and no retries") {
  CHECK(libpool::MapOptions{}.chunksize == std::nullopt);
  CHECK(libpool::MapOptions{}.timeout == 0ns);
  CHECK(libpool::MapOptions{}.retries == 0);
  CHECK(libpool::ImapOptions{}.buffersize == std::nullopt);
  CHECK(libpool::PoolOptions{}.max_tasks_per_child == std::nullopt);
  Pool pool(1);
  CHECK(pool.map(square, numbers(3), {}) == squares(3));
}

BOTH_POOLS("size is the number of workers wanted") {
  Pool pool(3);
  CHECK(pool.size() == 3);
}

BOTH_POOLS("a pool has as many workers as the process may use, by default") {
  Pool pool;
  CHECK(pool.size() == libpool::available_parallelism());
}

TEST_CASE("available_parallelism is at least one and at most the affinity mask") {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  REQUIRE(::sched_getaffinity(0, sizeof mask, &mask) == 0);
  CHECK(libpool::available_parallelism() >= 1);
  CHECK(libpool::available_parallelism() <= static_cast<std::size_t>(CPU_COUNT(&mask)));
}

TEST_CASE("available_parallelism follows the affinity mask") {
  const int counted = oracle::exit_of_child([] {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    if (::sched_getaffinity(0, sizeof mask, &mask) != 0) return 90;
    int first = 0;
    while (!CPU_ISSET(first, &mask)) ++first;
    CPU_ZERO(&mask);
    CPU_SET(first, &mask);
    if (::sched_setaffinity(0, sizeof mask, &mask) != 0) return 91;
    return static_cast<int>(libpool::available_parallelism());
  });
  CHECK(counted == 1);
}

BOTH_POOLS("a pool of no workers is an invalid argument") {
  CHECK_THROWS_AS(Pool(0), std::invalid_argument);
}

BOTH_POOLS("a pool of more than 4096 workers is an invalid argument") {
  CHECK_THROWS_AS(Pool(4097), std::invalid_argument);
  CHECK_THROWS_AS(Pool(static_cast<std::size_t>(-1)), std::invalid_argument);
}

BOTH_POOLS("a max_tasks_per_child of zero is an invalid argument") {
  CHECK_THROWS_AS(Pool(1, {.max_tasks_per_child = 0}), std::invalid_argument);
}

BOTH_POOLS("a chunk size of zero is an invalid argument") {
  Pool pool(1);
  const std::vector<std::pair<int, int>> pairs{{1, 2}};
  CHECK_THROWS_AS(pool.map(square, numbers(3), {.chunksize = 0}), std::invalid_argument);
  CHECK_THROWS_AS(pool.starmap(add, pairs, {.chunksize = 0}), std::invalid_argument);
  CHECK_THROWS_AS(pool.map_async(square, numbers(3), {.chunksize = 0}), std::invalid_argument);
  CHECK_THROWS_AS(pool.starmap_async(add, pairs, {.chunksize = 0}), std::invalid_argument);
  CHECK_THROWS_AS(pool.imap(square, numbers(3), {.chunksize = 0}), std::invalid_argument);
  CHECK_THROWS_AS(pool.imap_unordered(square, numbers(3), {.chunksize = 0}), std::invalid_argument);
  CHECK_THROWS_AS(pool.try_map(square, numbers(3), {.chunksize = 0}), std::invalid_argument);
  CHECK_THROWS_AS(pool.try_starmap(add, pairs, {.chunksize = 0}), std::invalid_argument);
  CHECK_THROWS_AS(pool.try_imap(square, numbers(3), {.chunksize = 0}), std::invalid_argument);
  CHECK_THROWS_AS(pool.try_imap_unordered(square, numbers(3), {.chunksize = 0}),
                  std::invalid_argument);
  CHECK(pool.apply(square, 3) == 9);
}

BOTH_POOLS("a buffersize of zero is an invalid argument") {
  Pool pool(1);
  CHECK_THROWS_AS(pool.imap(square, numbers(3), {.buffersize = 0}), std::invalid_argument);
  CHECK_THROWS_AS(pool.imap_unordered(square, numbers(3), {.buffersize = 0}),
                  std::invalid_argument);
  CHECK_THROWS_AS(pool.try_imap(square, numbers(3), {.buffersize = 0}), std::invalid_argument);
  CHECK_THROWS_AS(pool.try_imap_unordered(square, numbers(3), {.buffersize = 0}),
                  std::invalid_argument);
}

BOTH_POOLS("the initializer runs once in each worker, before its first task") {
  oracle::Fresh fresh;
  Pool pool(3, {.initializer = [] { ++oracle::page.words[0]; }});
  const auto seen =
      pool.map([](int) { return oracle::page.words[0].load(); }, numbers(300), {.chunksize = 1});
  for (const std::int64_t initialized : seen) CHECK(initialized >= 1);
  CHECK(oracle::eventually([] { return oracle::page.words[0] == 3; }));
  pool.map(square, numbers(100), {.chunksize = 1});
  CHECK(oracle::page.words[0] == 3);
}

BOTH_POOLS("the initializer may be any callable with captures") {
  oracle::Fresh fresh;
  const std::string text = "a string that is long enough for the heap";
  Pool pool(1, {.initializer = [text] {
              oracle::page.words[0] = static_cast<std::int64_t>(text.size());
            }});
  CHECK(pool.apply([] { return oracle::page.words[0].load(); }) ==
        static_cast<std::int64_t>(text.size()));
}

TEST_CASE("the initializer of a ProcessPool prepares what its tasks see") {
  static int value = 0;
  ProcessPool pool(2, {.initializer = [] { value = 7; }});
  CHECK(pool.map([](int) { return value; }, numbers(10)) == std::vector<int>(10, 7));
  CHECK(value == 0);
}

BOTH_POOLS("the initializer runs in replacements too") {
  oracle::Fresh fresh;
  Pool pool(1, {.initializer = [] { ++oracle::page.words[0]; }, .max_tasks_per_child = 5});
  CHECK(pool.map(square, numbers(20), {.chunksize = 1}) == squares(20));
  CHECK(oracle::page.words[0] >= 4);
}

TEST_CASE("a worker is replaced after max_tasks_per_child tasks") {
  ProcessPool pool(1, {.max_tasks_per_child = 3});
  const auto pids = pool.map([](int) { return ::getpid(); }, numbers(12), {.chunksize = 1});
  for (std::size_t i = 0; i < 12; ++i) CHECK(pids[i] == pids[i / 3 * 3]);
  CHECK(std::set<pid_t>(pids.begin(), pids.end()).size() == 4);
}

TEST_CASE("a task is one item, never one chunk") {
  ProcessPool pool(1, {.max_tasks_per_child = 3});
  const auto pids = pool.map([](int) { return ::getpid(); }, numbers(12), {.chunksize = 6});
  CHECK(std::set<pid_t>(pids.begin(), pids.end()).size() == 4);
  for (const pid_t pid : pids) CHECK(std::count(pids.begin(), pids.end(), pid) == 3);
}

TEST_CASE("a thread is replaced after max_tasks_per_child tasks") {
  ThreadPool pool(1, {.max_tasks_per_child = 3});
  const auto threads =
      pool.map([](int) { return static_cast<int>(::gettid()); }, numbers(12), {.chunksize = 6});
  CHECK(std::set<int>(threads.begin(), threads.end()).size() == 4);
}

BOTH_POOLS("max_tasks_per_child of one runs each of many tasks in a fresh worker") {
  constexpr int tasks = oracle::rounds(10'000);
  oracle::Fresh fresh;
  Pool pool(2, {.max_tasks_per_child = 1});
  CHECK(pool.map(count_and_return, numbers(tasks)) == numbers(tasks));
  CHECK(oracle::executed(tasks) == tasks);
  CHECK(pool.stats().workers_spawned >= tasks);
  CHECK(pool.stats().workers_lost == 0);
}

BOTH_POOLS("max_tasks_per_child works with every call") {
  Pool pool(2, {.max_tasks_per_child = 2});
  CHECK(pool.apply(square, 3) == 9);
  CHECK(drain(pool.imap(square, numbers(30), {.chunksize = 4})) == squares(30));
  CHECK(pool.map_async(square, numbers(30), {.chunksize = 7}).get() == squares(30));
  CHECK(drain(pool.imap_unordered(square, numbers(30))).size() == 30);
}

TEST_CASE("a ThreadPool ignores memory_limit") {
  ThreadPool pool(1, {.memory_limit = 1});
  CHECK(pool.apply([](std::size_t n) { return std::string(n, 'x').size(); },
                   std::size_t{1} << 24) == std::size_t{1} << 24);
}

BOTH_POOLS("the smallest bounds still work") {
  Pool pool(2, {.task_slots = 1,
                .task_memory = 4096,
                .result_ring = 1,
                .max_payload_in_flight = 1,
                .window = 1});
  CHECK(pool.map(square, numbers(500), {.chunksize = 3}) == squares(500));
  CHECK(drain(pool.imap(square, numbers(100))) == squares(100));
  const std::vector<std::string> words(20, std::string(10'000, 'x'));
  CHECK(pool.map([](const std::string& word) { return word + "!"; }, words) ==
        std::vector<std::string>(20, std::string(10'000, 'x').append("!")));
}

TEST_CASE("large arguments wait for shared memory, whatever brought them, and all arrive") {
  ProcessPool pool(2, {.task_memory = std::size_t{1} << 20});
  const auto size = [](const std::string& text) { return text.size(); };
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < 60; ++i) texts.emplace_back((70 + 3 * i) << 10, 'x');
  std::vector<std::size_t> sizes;
  for (const std::string& text : texts) sizes.push_back(text.size());
  const auto lazy = pool.map_async(size, texts, {.chunksize = 1});
  auto stream = pool.imap(size, texts);
  std::vector<libpool::AsyncResult<std::size_t>> calls;
  for (const std::string& text : texts) calls.push_back(pool.apply_async(size, text));
  CHECK(pool.map(size, texts) == sizes);
  CHECK(drain(std::move(stream)) == sizes);
  CHECK(lazy.get() == sizes);
  for (std::size_t i = 0; i < calls.size(); ++i) CHECK(calls[i].get() == sizes[i]);
}

TEST_CASE("large arguments are written a few chunks a worker ahead, small ones further") {
  oracle::Fresh fresh;
  ProcessPool pool(2);
  const auto hold = [](const std::string& text) {
    oracle::pass_gate();
    return text.size();
  };
  std::atomic<std::size_t> pulled = 0;
  const auto texts = [&](std::size_t size) {
    return std::views::iota(0, 100) | std::views::transform([&pulled, size](int) {
             ++pulled;
             return std::string(size, 'x');
           });
  };
  const auto large = pool.map_async(hold, texts(std::size_t{1} << 20), {.chunksize = 1});
  REQUIRE(oracle::arrived(2));
  CHECK(oracle::eventually([&] { return pulled == 6; }));
  const auto small = pool.map_async(hold, texts(10), {.chunksize = 1});
  CHECK(oracle::eventually([&] { return pulled >= 6 + 100; }));
  CHECK(pulled == 6 + 100);
  oracle::Fresh::open_gate();
  CHECK(large.get().size() == 100);
  CHECK(small.get().size() == 100);
}

TEST_CASE("arguments with memory of their own wait for no shared memory") {
  oracle::Fresh fresh;
  ProcessPool pool(6, {.task_memory = std::size_t{1} << 20});
  const auto hold = [](const std::string& text) {
    oracle::pass_gate();
    return text.size();
  };
  const auto size = [](const std::string& text) { return text.size(); };
  std::vector<libpool::AsyncResult<std::size_t>> held;
  for (int i = 0; i < 4; ++i) {  // each holds a quarter of it
    held.push_back(pool.apply_async(hold, std::string(std::size_t{150} << 10, 'x')));
  }
  const std::vector<std::string> texts(8, std::string(std::size_t{400} << 10, 'x'));
  CHECK(pool.map(size, texts, {.chunksize = 1}) ==
        std::vector<std::size_t>(8, std::size_t{400} << 10));
  oracle::Fresh::open_gate();
  for (const auto& each : held) CHECK(each.get() == std::size_t{150} << 10);
}

TEST_CASE("an input that waits holds up nobody who needs shared memory") {
  oracle::Fresh fresh;
  Script scripts[4];
  ProcessPool pool(2, {.task_memory = std::size_t{1} << 20});
  constexpr std::size_t size = std::size_t{200} << 10;  // a quarter of it, rounded up
  const auto length = [](const std::string& text) { return text.size(); };
  const auto large = [](int) { return std::string(size, 'x'); };
  std::vector<libpool::ResultRange<std::size_t>> streams;
  for (Script& script : scripts) {
    script.items = 2;
    script.waits_at = 1;
    streams.push_back(pool.imap(length, Scripted(script) | std::views::transform(large)));
  }
  for (auto& stream : streams) CHECK(stream.next() == size);
  for (const Script& script : scripts) {
    CHECK(oracle::eventually([&] { return script.waits.load(); }));
  }
  const auto blocked = pool.apply_async(wait_at_gate, 0);
  std::vector<libpool::AsyncResult<std::size_t>> calls;
  for (int i = 0; i < 4; ++i) calls.push_back(pool.apply_async(length, std::string(size, 'y')));
  for (const auto& call : calls) CHECK(call.get() == size);
  oracle::Fresh::open_gate();
  for (Script& script : scripts) script.release = true;
  for (auto& stream : streams) CHECK(stream.next() == size);
  CHECK(blocked.get() == 0);
}

TEST_CASE("an automatic chunk of large arguments has few items, one that was asked for has all") {
  ProcessPool pool(1);
  const std::vector<std::string> texts(64, std::string(std::size_t{2} << 20, 'x'));
  // Its state lives for one chunk.
  const auto place = [count = 0](const std::string&) mutable { return ++count; };
  const auto longest_chunk = [&](std::optional<std::size_t> chunksize) {
    return std::ranges::max(pool.map(place, texts, {.chunksize = chunksize}));
  };
  CHECK(longest_chunk(16) == 16);
  CHECK(longest_chunk(std::nullopt) == 1);
}

BOTH_POOLS("an initializer that always throws breaks the pool, with its exception as the cause") {
  Pool pool(2, {.initializer = [] { throw std::out_of_range("no start"); }});
  const auto error = caught<libpool::PoolBroken>([&] { pool.map(square, numbers(10)); });
  REQUIRE(error.has_value());
  REQUIRE(error->cause() != nullptr);
  CHECK_THROWS_AS(std::rethrow_exception(error->cause()), std::out_of_range);
  CHECK_THROWS_AS(pool.apply_async(square, 1), libpool::PoolBroken);
}

BOTH_POOLS("an initializer that throws a few times delays the pool and does not break it") {
  oracle::Fresh fresh;
  Pool pool(2, {.initializer = [] {
              if (++oracle::page.words[0] <= 4) throw std::runtime_error("not yet");
            }});
  CHECK(pool.map(square, numbers(50)) == squares(50));
}

BOTH_POOLS("retries are for crashes: an item that throws runs once") {
  oracle::Fresh fresh;
  Pool pool(1);
  const auto fail = [](int item) -> int {
    oracle::count_execution(item);
    throw std::runtime_error("no crash");
  };
  CHECK_THROWS_AS(pool.map(fail, numbers(3), {.retries = 5}), std::runtime_error);
  CHECK(oracle::executed(3) == 3);
}
