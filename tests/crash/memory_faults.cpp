/// Every allocation of a pool's life in the program fails: the n-th alone, the n-th and all others
/// until the call has ended, and the n-th and all others for ever.
///
/// Each life runs in a child of the test. Workers and fork servers have the memory that they want:
/// what a worker without any does is among the limits. Where no memory comes back, nothing succeeds
/// any more; but every call still has an answer, and the pool an end.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <optional>
#include <thread>
#include <vector>

#include "lives.hpp"

using namespace crash;
using namespace std::chrono_literals;

namespace {

enum class Shortage { of_one, of_a_call, for_ever };

/// The plan. Owned by the process that lives; its children see that they are others.
struct Plan {
  std::atomic<pid_t> process{0};
  Shortage shortage = Shortage::of_one;
  long nth = 0;
  std::atomic<long> allocations{0};
  std::atomic<bool> over{false};
};
Plan plan;

/// Whether the allocation that is asked for now fails.
bool fails_now() noexcept {
  const pid_t process = plan.process.load(std::memory_order_relaxed);
  if (process == 0 || process != ::getpid()) return false;
  const long now = ++plan.allocations;
  if (plan.shortage == Shortage::of_one) return now == plan.nth;
  return now >= plan.nth && !plan.over;
}

void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
  if (fails_now()) return nullptr;
  const std::size_t size =
      (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  return std::aligned_alloc(alignment, size);
}
[[maybe_unused]] void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
  if (void* memory = allocate(bytes, alignment)) return memory;
  throw std::bad_alloc();
}

[[maybe_unused]] constexpr std::size_t usual_alignment = __STDCPP_DEFAULT_NEW_ALIGNMENT__;

}  // namespace

// GCC sees one half of each pair below inlined where the other is not, and takes them for
// strangers.
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

// Not under a sanitizer, which sees by an `operator new` of its own.
#ifndef ORACLE_SANITIZED
void* operator new(std::size_t bytes) { return allocate_or_throw(bytes, usual_alignment); }
void* operator new[](std::size_t bytes) { return allocate_or_throw(bytes, usual_alignment); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, usual_alignment);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, usual_alignment);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
#endif

namespace {

void memory_is_back() {
  if (plan.shortage == Shortage::of_a_call && plan.allocations >= plan.nth) plan.over = true;
}

std::vector<char> copy_of(std::vector<char> bytes) { return bytes; }

template <class Pool>
bool made(Life& life, std::optional<Pool>& pool) {
  return life.step([&] { pool.emplace(2, small_options()); });
}

/// The calls that block, and a pool that is closed.
template <class Pool>
void blocking_life(Life& life) {
  std::optional<Pool> pool;
  if (!made(life, pool)) return;
  const auto map = [&] {
    const auto results = pool->map(twice, numbers(20), {.chunksize = 3});
    life.expect(results.size() == 20 && results[19] == 38);
  };
  life.step(map);
  life.step([&] {
    int item = 0;
    for (const auto& outcome : pool->try_map(twice, numbers(5))) {
      life.expect(!outcome || *outcome == 2 * item);
      ++item;
    }
    life.expect(item == 5);
  });
  life.step([&] {
    const std::vector<char> large(100'000, 'x');
    life.expect(pool->apply(copy_of, large) == large);
  });
  life.recover(map);
  static_cast<void>(life.step([&] { pool->close(); }) && life.step([&] { pool->join(); }));
}

/// Lazy calls, in order and not, one of them of payloads longer than the rings; one range is
/// dropped. The pool is terminated.
template <class Pool>
void lazy_life(Life& life) {
  std::optional<Pool> pool;
  if (!made(life, pool)) return;
  const auto imap = [&] {
    int item = 0;
    for (const int result : pool->imap(twice, numbers(30))) life.expect(result == 2 * item++);
    life.expect(item == 30);
  };
  life.step(imap);
  life.step([&] {
    int sum = 0;
    for (const int result : pool->imap_unordered(twice, numbers(9), {.chunksize = 2}))
      sum += result;
    life.expect(sum == 72);
  });
  life.step([&] {
    const std::vector<std::vector<char>> many(5, std::vector<char>(50'000, 'y'));
    for (auto&& text : pool->imap(copy_of, many, {.buffersize = 2})) life.expect(text == many[0]);
  });
  life.step([&] { static_cast<void>(pool->imap(twice, numbers(100)).next()); });
  life.recover(imap);
  life.step([&] { pool->terminate(); });
}

/// Calls that do not block, callbacks, errors, and a cancellation.
template <class Pool>
void async_life(Life& life) {
  std::optional<Pool> pool;
  if (!made(life, pool)) return;
  const auto map = [&] {
    const auto results = pool->map_async(twice, numbers(20), {.chunksize = 2}).get();
    life.expect(results.size() == 20 && results[19] == 38);
  };
  life.step(map);
  life.step([&] {
    // Which may use the pool again.
    std::atomic<int> called{0};
    const auto call = [&] {
      ++called;
      life.expect(pool->apply(twice, 4) == 8);
    };
    const auto handle =
        pool->map_async(twice, numbers(5),
                        {.callback = [&](const auto&) { call(); },
                         .error_callback = [&](const std::exception_ptr&) { call(); }});
    handle.wait();
    life.expect(called == 1);
  });
  life.step([&] {
    std::vector<libpool::AsyncResult<int>> handles;
    for (int item = 0; item < 40; ++item) handles.push_back(pool->apply_async(twice, item));
    for (int item = 0; item < 40; ++item) {
      life.expect(handles[static_cast<std::size_t>(item)].get() == 2 * item);
    }
  });
  life.step([&] {
    pool->apply([]() -> int { throw libpool::TaskError("as it should be"); });
    life.expect(false);
  });
  life.step([&] { static_cast<void>(pool->apply_async(twice, 1).cancel()); });
  life.step([&] { static_cast<void>(pool->stats()); });
  life.recover(map);
  // The rest is for the destructor.
  life.step([&] { static_cast<void>(pool->map_async(twice, numbers(50))); });
}

/// Deaths, a timeout, and a running call that is cancelled.
void deadly_life(Life& life) {
  std::optional<libpool::ProcessPool> pool;
  if (!made(life, pool)) return;
  life.step([&] {
    pool->apply([]() -> int { ::_exit(3); });
    life.expect(false);
  });
  life.step([&] {
    pool->map(sleep_for_ever, numbers(1), {.timeout = 2ms});
    life.expect(false);
  });
  life.step([&] {
    const auto handle = pool->map_async(sleep_for_ever, numbers(2));
    std::this_thread::sleep_for(1ms);
    life.expect(handle.cancel() || handle.ready());
  });
  life.recover([&] { life.expect(pool->map(twice, numbers(5))[4] == 8); });
}

/// A timeout, after which another thread comes, and fresh threads for fresh chunks.
void replaced_life(Life& life) {
  std::optional<libpool::ThreadPool> pool;
  if (!life.step([&] { pool.emplace(2, libpool::PoolOptions{.max_tasks_per_child = 2}); })) return;
  life.step([&] {
    pool->map([](int) { std::this_thread::sleep_for(20ms); }, numbers(3),
              {.chunksize = 3, .timeout = 1ms});
    life.expect(false);
  });
  life.recover([&] { life.expect(pool->map(twice, numbers(9), {.chunksize = 3})[8] == 16); });
}

/// A pool whose workers all fail to start breaks.
template <class Pool>
void broken_life(Life& life) {
  std::optional<Pool> pool;
  life.step([&] {
    libpool::PoolOptions options = small_options();
    options.initializer = [] { throw libpool::TaskError("no start"); };
    options.restart_intensity = 3;
    pool.emplace(2, options);
    pool->map(twice, numbers(3));
    life.expect(false);
  });
}

constexpr std::size_t allocations_word = 9;

/// In a child of the test: one life under one shortage.
Verdict live(void (*body)(Life&), Shortage shortage, long nth) {
  const auto before = libpool::testing::Footprint::now();
  Life life(memory_is_back);
  plan.shortage = shortage;
  plan.nth = nth;
  plan.process = ::getpid();
  body(life);
  plan.process = 0;
  oracle::page.words[allocations_word] = plan.allocations.load();
  if (life.verdict() == no_recovery && shortage == Shortage::for_ever) return fine;
  return life.verdict() != fine ? life.verdict() : left_behind(before);
}

/// With LIBPOOL_ALL_FAULTS in the environment each allocation fails, else every fourth.
long stride() {
  static const bool all = std::getenv("LIBPOOL_ALL_FAULTS") != nullptr;
  return all ? 1 : 4;
}

/// As many lives as it takes for one to end before the shortage begins.
void check_all(const char* name, void (*body)(Life&)) {
  // A sanitizer has an `operator new` of its own, in which nothing fails.
  if (oracle::sanitized) return;
  int lives = 0;
  for (const Shortage shortage : {Shortage::of_one, Shortage::of_a_call, Shortage::for_ever}) {
    // Each kind begins elsewhere, so that together they see more.
    for (long nth = 1 + static_cast<long>(shortage) * stride() / 3;; nth += stride()) {
      ++lives;
      oracle::page.words[allocations_word] = nth;
      const std::string seen = seen_in_child([&] { return live(body, shortage, nth); });
      if (!seen.empty()) {
        FAIL_CHECK(std::string(name) << ", shortage " << static_cast<int>(shortage)
                                     << " from allocation " << nth << ": " << seen);
      }
      if (oracle::page.words[allocations_word] < nth) break;
    }
  }
  std::printf("%s: %d lives\n", name, lives);
}

}  // namespace

TEST_CASE("a process pool survives or reports each allocation that fails") {
  check_all("calls that block", blocking_life<libpool::ProcessPool>);
  check_all("lazy calls", lazy_life<libpool::ProcessPool>);
  check_all("calls that do not block", async_life<libpool::ProcessPool>);
  check_all("deaths", deadly_life);
  check_all("failed starts", broken_life<libpool::ProcessPool>);
}

TEST_CASE("a thread pool survives or reports each allocation that fails") {
  check_all("calls that block", blocking_life<libpool::ThreadPool>);
  check_all("lazy calls", lazy_life<libpool::ThreadPool>);
  check_all("calls that do not block", async_life<libpool::ThreadPool>);
  check_all("replaced threads", replaced_life);
  check_all("failed starts", broken_life<libpool::ThreadPool>);
}
