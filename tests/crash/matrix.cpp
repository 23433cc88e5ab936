/// The crash matrix: every death at every moment of an item's way, in every call.
///
/// The tests run in the parent; the deaths happen in workers of a pool made for each cell.
#include <numeric>
#include <utility>

#include "matrix.hpp"

namespace {

using namespace crash;

/// How a pool is set up, and when its worker dies.
struct Phase {
  const char* name;
  Moment moment;
  std::optional<std::size_t> max_tasks_per_child;
  /// The result is published before the death, so the item may keep it.
  bool may_succeed;
};

constexpr std::array phases{
    Phase{"decoding", Moment::decoding, std::nullopt, false},
    Phase{"running", Moment::running, std::nullopt, false},
    Phase{"encoding", Moment::encoding, std::nullopt, false},
    Phase{"publishing", Moment::publishing, std::nullopt, true},
    Phase{"running its last task", Moment::running, 2, false},
    Phase{"retiring", Moment::publishing, 1, true},
};

constexpr int items = 11;
constexpr int bad = 6;  // the third of its chunk of four: two before it, one after it

/// `pthread_exit` unwinds, which a destructor turns into `std::terminate`.
Death as_seen_at(Death death, Moment moment) {
  if (moment == Moment::publishing && death.name == "pthread_exit") {
    death.signal = SIGABRT;
    death.exit_status = std::nullopt;
  }
  return death;
}

void run(std::size_t cell) {
  const Death& death = deaths[cell % deaths.size()];
  const Phase& phase = phases[cell / deaths.size() % phases.size()];
  const Call& call = calls[cell / deaths.size() / phases.size()];
  oracle::Fresh fresh;
  const Executioner executioner;
  Pool pool(2, {.max_tasks_per_child = phase.max_tasks_per_child});
  const Seen seen = call.make(
      pool, orders(items, {.item = bad, .moment = phase.moment, .death = cell % deaths.size()}));
  if (phase.may_succeed && seen.errors == 0) {
    check_all_right(seen);
  } else {
    check_only_one_lost(call, seen, bad, as_seen_at(death, phase.moment));
  }
  CHECK(oracle::page.words[deaths_so_far] == 1);
  oracle::Fresh again;
  check_all_right(call.make(pool, orders(items, {})));
}

std::string name_of(std::size_t cell) {
  return std::string(calls[cell / deaths.size() / phases.size()].name) + " / " +
         phases[cell / deaths.size() % phases.size()].name + " / " +
         deaths[cell % deaths.size()].name;
}

constexpr std::size_t cells = deaths.size() * phases.size() * calls.size();

/// Under a sanitizer forks take so long that every fourth cell has to do. As the number of deaths
/// is odd, all deaths, phases and calls are among them.
constexpr std::size_t stride = oracle::sanitized ? 4 : 1;
static_assert(std::gcd(deaths.size(), stride) == 1);

[[maybe_unused]] const int registered = register_cells<run, stride>(
    __FILE__, "a death costs the item that it happened in, and nothing else ", name_of,
    std::make_index_sequence<(cells + stride - 1) / stride>());

}  // namespace
