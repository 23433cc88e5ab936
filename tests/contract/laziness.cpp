/// Contract: how far `imap` looks ahead, and what happens to the rest of its input.
///
/// Runs in the test; inputs are pulled on threads of the test, the tasks run in workers of both
/// pools.
#include "contract.hpp"

#include <thread>

using namespace contract;

namespace {

/// How far the input was pulled once nothing moves any more.
int settled(const Script& script) {
  int before = -1;
  while (before != script.read) {
    before = script.read;
    std::this_thread::sleep_for(100ms);
  }
  return before;
}

std::vector<std::byte> block_of(int) { return std::vector<std::byte>(256U << 10); }

}  // namespace

BOTH_POOLS("tasks are issued though nobody iterates") {
  oracle::Fresh fresh;
  Pool pool(2);
  auto results = pool.imap(count_and_return, numbers(20));
  CHECK(oracle::eventually([] { return oracle::executed(20) == 20; }));
}

BOTH_POOLS("the look-ahead of an endless input is bounded by the window") {
  Script script;
  Pool pool(2, {.window = 8});
  auto results = pool.imap(square, Scripted(script));
  for (int i = 0; i < 30; ++i) REQUIRE(results.next() == i * i);
  CHECK(settled(script) <= 30 + 8 + 1);
  pool.terminate();
}

BOTH_POOLS("the look-ahead is bounded for larger chunks as well") {
  Script script;
  Pool pool(2, {.window = 8});
  auto results = pool.imap(square, Scripted(script), {.chunksize = 5});
  for (int i = 0; i < 30; ++i) REQUIRE(results.next() == i * i);
  CHECK(settled(script) <= 30 + 9 * 5 + 1);
  pool.terminate();
}

BOTH_POOLS("the look-ahead of imap_unordered is bounded though one task does not end") {
  Script script;
  Pool pool(2, {.window = 8});
  oracle::Fresh fresh;
  auto results = pool.imap_unordered(
      [](int x) {
        if (x == 0) oracle::pass_gate();
        return x;
      },
      Scripted(script));
  for (int i = 1; i < 30; ++i) REQUIRE(results.next().has_value());
  CHECK(settled(script) <= 30 + 8 + 1);
  pool.terminate();
}

BOTH_POOLS("imap's look-ahead is bounded behind an item that does not end") {
  Script script;
  Pool pool(2, {.window = 8});
  oracle::Fresh fresh;
  auto results = pool.imap(
      [](int x) {
        if (x == 0) oracle::pass_gate();
        return x;
      },
      Scripted(script));
  CHECK_THROWS_AS(results.next(50ms), libpool::TimeoutError);
  CHECK(settled(script) <= 8 + 1);
  pool.terminate();
}

BOTH_POOLS("the look-ahead is bounded with default options") {
  Script script;
  Pool pool(2);
  auto results = pool.imap(square, Scripted(script));
  for (int i = 0; i < 10; ++i) REQUIRE(results.next() == i * i);
  CHECK(settled(script) <= 10 + static_cast<int>(libpool::PoolOptions{}.task_slots) + 1);
  pool.terminate();
}

BOTH_POOLS("the parent's memory is bounded on an endless input with a slow consumer") {
  Script script;
  Pool pool(2, {.window = 16});
  const std::size_t before = oracle::resident_bytes();
  auto results = pool.imap(block_of, Scripted(script));
  std::size_t most = 0;
  for (int i = 0; i < 400; ++i) {
    REQUIRE(results.next().value().size() == 256U << 10);
    if (i % 20 == 0) std::this_thread::sleep_for(10ms);
    most = std::max(most, oracle::resident_bytes());
  }
  // A sanitizer keeps freed memory in quarantine.
  if (!oracle::sanitized) CHECK(most < before + (100U << 20));
  pool.terminate();
}

BOTH_POOLS("buffersize bounds what is pulled and not yet taken") {
  Script script;
  Pool pool(2);
  auto results = pool.imap(square, Scripted(script), {.buffersize = 5});
  CHECK(settled(script) == 5);
  for (int i = 0; i < 20; ++i) REQUIRE(results.next() == i * i);
  CHECK(settled(script) == 25);
  pool.terminate();
}

BOTH_POOLS("buffersize makes chunks no larger than itself") {
  Script script;
  Pool pool(2);
  auto results = pool.imap(square, Scripted(script), {.chunksize = 1000, .buffersize = 5});
  CHECK(settled(script) == 5);
  for (int i = 0; i < 20; ++i) REQUIRE(results.next() == i * i);
  CHECK(settled(script) <= 25);
  pool.terminate();
}

BOTH_POOLS("buffersize bounds imap_unordered as well") {
  Script script;
  Pool pool(2);
  auto results = pool.imap_unordered(square, Scripted(script), {.buffersize = 5});
  for (int i = 0; i < 20; ++i) REQUIRE(results.next().has_value());
  CHECK(settled(script) == 25);
  pool.terminate();
}

BOTH_POOLS("a buffersize of one works") {
  Pool pool(2);
  CHECK(drain(pool.imap(square, numbers(50), {.buffersize = 1})) == squares(50));
}

BOTH_POOLS(
    "with buffersize, nothing more is pulled after close, and iteration ends after what was "
    "pulled") {
  Script script;
  Pool pool(2);
  auto results = pool.imap(square, Scripted(script), {.buffersize = 5});
  REQUIRE(results.next() == 0);
  const int pulled = settled(script);
  pool.close();
  CHECK(drain(results).size() == static_cast<std::size_t>(pulled) - 1);
  pool.join();
  CHECK(script.read == pulled);
}

BOTH_POOLS("with buffersize, nothing more is pulled after the range is dropped") {
  Script script;
  Pool pool(2);
  int pulled = 0;
  {
    auto results = pool.imap(square, Scripted(script), {.buffersize = 5});
    REQUIRE(results.next() == 0);
    pulled = settled(script);
  }
  pool.close();
  pool.join();
  CHECK(script.read == pulled);
}

BOTH_POOLS("once the range is dropped, the whole remaining input is pulled and run") {
  oracle::Fresh fresh;
  Pool pool(2, {.window = 2});
  {
    auto results = pool.imap(count_and_return, numbers(1000));
    REQUIRE(results.next() == 0);
  }
  CHECK(oracle::eventually([] { return oracle::executed(1000) == 1000; }));
}

BOTH_POOLS("a range that is dropped at once runs its input all the same") {
  oracle::Fresh fresh;
  Pool pool(2, {.window = 2});
  static_cast<void>(pool.imap(count_and_return, numbers(100)));
  static_cast<void>(
      pool.imap_unordered([](int x) { return count_and_return(100 + x); }, numbers(100)));
  pool.close();
  pool.join();
  CHECK(oracle::executed(200) == 200);
}

BOTH_POOLS("once the pool is closed, the whole remaining input is run, and its results are kept") {
  oracle::Fresh fresh;
  Pool pool(2, {.window = 2});
  auto results = pool.imap(count_and_return, numbers(1000));
  REQUIRE(results.next() == 0);
  pool.close();
  pool.join();
  CHECK(oracle::executed(1000) == 1000);
  CHECK(drain(results).size() == 999);
}

BOTH_POOLS("close, then join, never wait for results that nobody takes") {
  oracle::Fresh fresh;
  Pool pool(2, {.window = 2});
  auto ordered = pool.imap(count_and_return, numbers(500));
  auto unordered = pool.imap_unordered(square, numbers(500));
  pool.close();
  pool.join();
  CHECK(oracle::executed(500) == 500);
}

BOTH_POOLS("terminate ends a range over an endless input") {
  Script script;
  Pool pool(2);
  auto results = pool.imap(square, Scripted(script));
  REQUIRE(results.next() == 0);
  pool.terminate();
  bool terminated = false;
  try {
    while (results.next()) {
    }
  } catch (const libpool::PoolTerminated&) {
    terminated = true;
  }
  CHECK(terminated);
  CHECK_THROWS_AS(results.next(), libpool::PoolTerminated);
}

BOTH_POOLS("after terminate a range yields the results already there, then PoolTerminated") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto results =
      pool.imap([](int x) { return x < 5 ? count_and_return(x) : wait_at_gate(x); }, numbers(10));
  REQUIRE(results.next() == 0);
  REQUIRE(oracle::arrived(1));
  REQUIRE(oracle::eventually([&] { return pool.stats().succeeded >= 5; }));
  pool.terminate();
  for (int i = 1; i < 5; ++i) CHECK(results.next() == i);
  CHECK_THROWS_AS(results.next(), libpool::PoolTerminated);
}

BOTH_POOLS("terminate wakes a thread that waits in next") {
  Pool pool(1);
  oracle::Fresh fresh;
  auto results = pool.imap(wait_at_gate, numbers(3));
  REQUIRE(oracle::arrived(1));
  std::jthread ender([&] { pool.terminate(); });
  CHECK_THROWS_AS(results.next(), libpool::PoolTerminated);
}

BOTH_POOLS("imap keeps its own copy of an lvalue container") {
  Pool pool(1, {.window = 1});
  std::vector<int> values = numbers(100);
  auto results = pool.imap(square, values);
  values.assign(100, -1);
  CHECK(drain(results) == squares(100));
}

BOTH_POOLS("imap over a temporary container is safe") {
  Pool pool(1, {.window = 1});
  auto results = pool.imap([](const std::string& s) { return s.size(); },
                           std::vector<std::string>(50, std::string(100, 'x')));
  CHECK(drain(results) == std::vector<std::size_t>(50, 100));
}
