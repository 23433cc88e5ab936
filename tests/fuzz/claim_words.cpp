/// Claim words that are wiped, or name tickets and owners that there are not, while workers keep
/// the protocol step by step and die at any time: every item gets its outcome, and none starts more
/// often than its retries allow. Besides: workers that nobody disturbs never fail the audit.
#include <tests/fuzz/fuzzed_pool.hpp>

using namespace libpool;
using fuzz::FuzzedPool;
using fuzz::Input;

namespace {

/// Damage that has no chunk run twice.
std::uint64_t damaged(std::uint64_t ticket, Input& input) {
  using State = ring::Claim::State;
  const auto owner = input.below(FuzzedPool::workers);
  switch (input.below(5)) {
    case 0:
      return 0;
    case 1:
      return UINT64_MAX;
    case 2:
      return ring::Claim{ticket + 1000 + input.below(250), State::ready, 0}.pack();
    case 3:
      return ring::Claim{ticket + 1000, State::claimed, owner}.pack();
    default:
      return ring::Claim{ticket, State::claimed, FuzzedPool::workers + input.below(250)}.pack();
  }
}

void act(FuzzedPool& pool, Input& input, bool damages, bool& damage) {
  const std::uint32_t action = input.below(16);
  const std::uint32_t worker = input.below(FuzzedPool::workers);
  switch (action) {
    case 0:
      return pool.enqueue(input.below(2), 1 + input.below(3));
    case 1: {
      if (!damages) return;
      const std::uint32_t slot = input.below(FuzzedPool::slots);
      const std::uint64_t word = damaged(pool.ticket_of(slot), input);
      std::memcpy(static_cast<void*>(&pool.core.claims[slot]), &word, sizeof word);
      damage = true;
      return;
    }
    case 2:
      return pool.die(worker);
    case 3:
      return pool.start_wanted();
    case 4:
      return pool.bury_killed();
    case 5: {
      const bool sound = pool.supervisor.audit();
      fuzz::require(sound || damage, "workers that nobody disturbs pass the audit");
      return;
    }
    case 6:
    case 7:
      return pool.round(action == 6);
    default:
      return pool.step(worker);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 4096) return 0;
  Input input(data, size);
  FuzzedPool pool;
  const bool damages = input.below(4) != 0;
  bool damage = false;
  pool.enqueue(0, 4);
  pool.round(true);
  while (!input.empty()) act(pool, input, damages, damage);
  pool.finish();
  for (const auto& [index, starts] : pool.starts()) {
    const std::size_t allowed = index >= 100'000 ? 1 + FuzzedPool::retries : 1;
    fuzz::require(starts <= allowed, "no item starts more often than its retries allow");
  }
  return 0;
}
