/// Deaths that no item can be blamed for: of idle workers, and in the initializer.
///
/// The tests run in the parent; the deaths happen in workers, by signals from the test or by
/// themselves.
#include <utility>

#include "matrix.hpp"

namespace {

using namespace crash;

constexpr int items = 11;
constexpr std::size_t started = 9;  // a word of the page

const std::vector<std::size_t>& deaths_from_outside() {
  static const std::vector<std::size_t> list = [] {
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < deaths.size(); ++i) {
      if (deaths[i].from_outside) found.push_back(i);
    }
    return found;
  }();
  return list;
}
constexpr std::size_t outside_deaths = 25;

std::vector<pid_t> worker_pids(Pool& pool) {
  std::vector<pid_t> pids;
  for (const auto& worker : pool.stats().workers) pids.push_back(worker.pid);
  return pids;
}

void kill_idle_workers(Pool& pool, int signal, bool stop_first) {
  std::vector<oracle::Watched> victims;
  for (const pid_t pid : worker_pids(pool)) victims.emplace_back(pid);
  REQUIRE_FALSE(victims.empty());
  for (const auto& victim : victims) {
    if (stop_first) victim.kill(SIGSTOP);
    victim.kill(signal);
  }
  for (const auto& victim : victims) REQUIRE(victim.dies());
}

/// All idle workers die by one signal; the next call does not notice.
void run_idle_cell(std::size_t cell) {
  const Death& death = deaths[deaths_from_outside().at(cell % outside_deaths)];
  const Call& call = calls[cell / outside_deaths];
  Pool pool(2);
  for (int round = 0; round < 2; ++round) {
    oracle::Fresh fresh;
    check_all_right(call.make(pool, orders(items, {})));
    kill_idle_workers(pool, *death.signal, round == 1 && *death.signal == SIGKILL);
  }
  oracle::Fresh fresh;
  check_all_right(call.make(pool, orders(items, {})));
  CHECK(pool.stats().crashed == 0);
}

/// The first workers die in the initializer; the call waits for their replacements.
void run_initializer_cell(std::size_t cell) {
  static std::size_t death = 0;
  death = cell % deaths.size();
  const Call& call = calls[cell / deaths.size()];
  oracle::Fresh fresh;
  const Executioner executioner;
  Pool pool(2, {.initializer = [] {
              if (oracle::page.words[deaths_so_far] < 3) die(death);
            }});
  const Seen seen = call.make(pool, orders(items, {}));
  check_all_right(seen);
  CHECK(oracle::page.words[deaths_so_far] >= 3);
  CHECK(pool.stats().crashed == 0);
}

std::string name_of_idle_cell(std::size_t cell) {
  return std::string(calls[cell / outside_deaths].name) + " / " +
         deaths[deaths_from_outside().at(cell % outside_deaths)].name;
}
std::string name_of_initializer_cell(std::size_t cell) {
  return std::string(calls[cell / deaths.size()].name) + " / " + deaths[cell % deaths.size()].name;
}

[[maybe_unused]] const int registered_idle = register_cells<run_idle_cell>(
    __FILE__, "a death of idle workers costs nothing ", name_of_idle_cell,
    std::make_index_sequence<outside_deaths * calls.size()>());
[[maybe_unused]] const int registered_initializer = register_cells<run_initializer_cell>(
    __FILE__, "a death in the initializer costs nothing ", name_of_initializer_cell,
    std::make_index_sequence<deaths.size() * calls.size()>());

}  // namespace

TEST_CASE("the table of signals from outside is as long as the matrix thinks") {
  CHECK(deaths_from_outside().size() == outside_deaths);
}

TEST_CASE("workers that die idle are replaced in a pool that has run nothing") {
  oracle::Fresh fresh;
  Pool pool(3);
  REQUIRE(oracle::eventually([&] { return worker_pids(pool).size() == 3; }));
  kill_idle_workers(pool, SIGKILL, false);
  check_all_right(by_map(pool, orders(items, {})));
}

TEST_CASE("workers killed again and again between calls never break the pool") {
  Pool pool(2);
  for (int round = 0; round < 40; ++round) {
    oracle::Fresh fresh;
    check_all_right(by_map(pool, orders(items, {})));
    kill_idle_workers(pool, SIGKILL, false);
  }
}

TEST_CASE("a hundred idle workers killed at once are replaced") {
  Pool pool(100);
  REQUIRE(oracle::eventually([&] { return worker_pids(pool).size() == 100; }));
  kill_idle_workers(pool, SIGKILL, false);
  oracle::Fresh fresh;
  check_all_right(by_try_map(pool, orders(500, {})));
}

TEST_CASE("a stopped idle worker delays nobody") {
  Pool pool(2);
  oracle::Fresh fresh;
  check_all_right(by_map(pool, orders(items, {})));
  const oracle::Watched stopped(worker_pids(pool).at(0));
  stopped.kill(SIGSTOP);
  for (int round = 0; round < 20; ++round) {
    oracle::Fresh again;
    check_all_right(by_apply(pool, orders(1, {})));
    oracle::Fresh for_map;
    check_all_right(by_map(pool, orders(items, {})));
  }
}

TEST_CASE("a worker that dies with a wake in hand passes it on, though no replacement starts") {
  for (const std::size_t victim : {0U, 1U}) {
    oracle::Fresh fresh;
    Pool pool(2, {.initializer = [] {
                if (oracle::page.words[deaths_so_far] != 0) oracle::pass_gate();
                ++oracle::page.words[started];
              }});
    check_all_right(by_apply_async(pool, orders(items, {})));
    REQUIRE(oracle::eventually([] { return oracle::page.words[started] == 2; }));
    REQUIRE(oracle::eventually([&] { return worker_pids(pool).size() == 2; }));
    const pid_t pid = worker_pids(pool).at(victim);
    const oracle::Watched stopped(pid);
    oracle::page.words[deaths_so_far] = 1;
    stopped.kill(SIGSTOP);
    REQUIRE(oracle::eventually([pid] { return oracle::stopped(pid); }));
    auto handle = pool.apply_async([] { return 5; });
    stopped.kill(SIGKILL);
    CHECK(handle.wait(std::chrono::seconds{60}));
  }
}

TEST_CASE("a pool ends though all its workers are stopped") {
  std::vector<oracle::Watched> workers;
  {
    Pool pool(3);
    oracle::Fresh fresh;
    check_all_right(by_map(pool, orders(items, {})));
    for (const pid_t pid : worker_pids(pool)) workers.emplace_back(pid);
    for (const auto& worker : workers) worker.kill(SIGSTOP);
  }
  for (const auto& worker : workers) CHECK(worker.dead());
}

TEST_CASE("a closed pool joins though all its workers are stopped") {
  Pool pool(2);
  oracle::Fresh fresh;
  check_all_right(by_map(pool, orders(items, {})));
  for (const pid_t pid : worker_pids(pool)) ::kill(pid, SIGSTOP);
  pool.close();
  pool.join();
}
