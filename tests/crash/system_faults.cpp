/// Every system call of a pool's life fails once, with every error that it may have, at every time
/// that it is made: in the parent, in the fork server, in the workers, and in the prefork root.
///
/// Each life runs in a child of the test, so that a hang or an abort is a finding like others. A
/// fault may cost the call that it hits, or the pool; it may not cost a wrong value, a process, a
/// descriptor, or the end of a wait.
#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <vector>

#include <tests/support/system_faults.hpp>
#include "lives.hpp"

namespace {

using namespace crash;
using libpool::ProcessPool;
using namespace std::chrono_literals;
namespace faults = libpool::testing::faults;

std::vector<char> reversed(std::vector<char> bytes) {
  std::reverse(bytes.begin(), bytes.end());
  return bytes;
}
std::vector<char> letters(std::size_t bytes) {
  std::vector<char> text(bytes);
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>('a' + i % 26);
  return text;
}

void check_payloads(ProcessPool& pool, Life& life) {
  // Longer than the ring, longer than the memory that is there at first, and with memory of its
  // own.
  life.step([&] {
    const std::vector<std::vector<char>> many(5, letters(50'000));
    for (auto&& text : pool.imap(reversed, many)) life.expect(reversed(text) == many[0]);
  });
  life.step([&] {
    const auto text = letters(100'000);
    life.expect(pool.apply(reversed, text) == reversed(text));
  });
}

void check_ends(ProcessPool& pool, Life& life) {
  life.step([&] {
    pool.apply([]() -> int { ::_exit(3); });
    life.expect(false);
  });
  life.step([&] {
    pool.map(sleep_for_ever, numbers(1), {.timeout = 2ms});
    life.expect(false);
  });
  life.step([&] {
    auto handle = pool.apply_async(sleep_for_ever, 1);
    life.expect(handle.cancel());
  });
}

/// Everything that a pool does, ended in order.
void whole_life(Life& life) {
  std::optional<ProcessPool> pool;
  if (!life.step([&] { pool.emplace(2, small_options()); })) return;
  const auto map = [&] { life.expect(pool->map(twice, numbers(20), {.chunksize = 3})[19] == 38); };
  life.step(map);
  check_payloads(*pool, life);
  check_ends(*pool, life);
  life.step([&] { life.expect(pool->map_async(twice, numbers(9)).get()[8] == 16); });
  life.recover(map);
  static_cast<void>(life.step([&] { pool->close(); }) && life.step([&] { pool->join(); }));
}

/// A pool of the prefork root's, ended in the midst of its work.
void short_life(Life& life) {
  if (!life.step([] { libpool::prefork(); })) return;
  std::optional<ProcessPool> pool;
  if (!life.step([&] { pool.emplace(2, small_options()); })) return;
  const auto map = [&] { life.expect(pool->map(twice, numbers(5))[4] == 8); };
  life.recover(map);
  life.step([&] { static_cast<void>(pool->map_async(sleep_for_ever, numbers(5))); });
}

/// In a child of the test: one life under one fault.
Verdict live(void (*body)(Life&), const faults::Plan& plan) {
  const auto before = libpool::testing::Footprint::now();
  Life life;
  faults::arm(plan);
  body(life);
  faults::disarm();
  if (life.verdict() == no_recovery && plan.action == faults::Action::keep_failing) return fine;
  if (life.verdict() != fine) return life.verdict();
  if (body == short_life) return fine;  // the root stays
  return left_behind(before);
}

/// True if the fault was early enough to happen.
bool check_life(void (*body)(Life&), const faults::Plan& plan) {
  const std::string seen = seen_in_child([&] { return live(body, plan); });
  if (!seen.empty()) {
    faults::disarm();
    FAIL_CHECK(faults::describe(plan) << ": " << seen);
  }
  return faults::fired();
}

/// The next call to fail: each of the first ones, then fewer; with LIBPOOL_ALL_FAULTS in the
/// environment, all.
long after(long nth) {
  static const bool all = std::getenv("LIBPOOL_ALL_FAULTS") != nullptr;
  constexpr long each = oracle::sanitized ? 1 : 12;
  return all || nth < each ? nth + 1 : nth * 2;
}

/// Whether a shortage may last for as long as a pool lives. While others do, there is no life.
bool may_last(const faults::Call& call, int error) {
  // A socket is not full for ever.
  if (std::string_view(call.name) == "sendmsg") return false;
  return error != EINTR && error != ENOMEM && error != ENOBUFS && error != ETOOMANYREFS &&
         error != ECONNRESET;
}

void check_all(void (*body)(Life&), int generation, faults::Action action = faults::Action::fail) {
  int lives = 0;
  for (std::size_t call = 0; call < faults::calls().size(); ++call) {
    const auto errors = faults::calls()[call].errors;
    for (const int error : errors) {
      // Under a sanitizer one error of each call is enough.
      if (oracle::sanitized && error != errors.front()) continue;
      if (action == faults::Action::keep_failing && !may_last(faults::calls()[call], error))
        continue;
      for (long nth = 1;; nth = after(nth)) {
        ++lives;
        if (!check_life(body, {generation, call, error, nth, action})) break;
      }
    }
  }
  std::printf("%d lives\n", lives);
}

[[maybe_unused]] const bool installed = [] {
  faults::install();
  return true;
}();

}  // namespace

TEST_CASE("a pool survives or reports each fault of the system in the parent") {
  check_all(whole_life, 0);
}

TEST_CASE("a pool survives or reports each fault of the system in the fork server") {
  check_all(whole_life, 1);
}

TEST_CASE("a pool survives or reports each fault of the system in workers") {
  check_all(whole_life, 2);
}

TEST_CASE("a pool survives or reports each fault of the system in the prefork root") {
  check_all(short_life, 1);
}

TEST_CASE("a pool survives or reports a fault of the system that stays") {
  for (const int generation : {0, 1, 2}) {
    check_all(whole_life, generation, faults::Action::keep_failing);
  }
}

TEST_CASE("a payload for which the memory of the pool cannot grow is an error or arrives") {
  for (long nth = 1; nth < 8; ++nth) {
    for (const std::size_t bytes : {200'000U, 1'000'000U, 10'000'000U}) {
      const auto body = [](Life& life) {
        std::optional<ProcessPool> pool;
        if (!life.step([&] { pool.emplace(1); })) return;
        life.step([&] {
          const auto text = letters(static_cast<std::size_t>(oracle::page.words[8]));
          life.expect(pool->apply(reversed, text) == reversed(text));
        });
        life.recover([&] { life.expect(pool->apply(twice, 4) == 8); });
      };
      oracle::page.words[8] = static_cast<long>(bytes);
      constexpr std::size_t fallocate_call = 1;
      check_life(body, {0, fallocate_call, ENOSPC, nth, faults::Action::keep_failing});
    }
  }
}
