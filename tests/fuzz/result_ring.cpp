/// Workers gone wild, each in its own lane and all over the claim words, between workers that keep
/// the protocol: records, runs and fragments of any content, words of any value, deaths at any
/// time. No item has two outcomes, and when all keep the protocol again, every item gets one.
#include <tests/fuzz/fuzzed_pool.hpp>

using namespace libpool;
using fuzz::FuzzedPool;
using fuzz::Input;

namespace {

/// A record that differs from a good one in little, with a good mark.
void put_record(FuzzedPool& pool, std::uint32_t worker, Input& input) {
  const std::uint32_t slot = input.below(FuzzedPool::slots + 1);
  ring::RecordHeader header{};
  header.kind = static_cast<std::uint8_t>(input.below(6));
  header.last = static_cast<std::uint8_t>(input.below(2));
  header.slot = slot;
  header.ticket = slot < FuzzedPool::slots ? pool.ticket_of(slot) : 0;
  if (input.below(8) == 0) header.ticket = input.take<std::uint64_t>();
  header.item = input.below(8) == 0 ? input.take<std::uint32_t>() : input.below(5);
  const std::string text(input.below(130), 'x');
  header.bytes = static_cast<std::uint32_t>(text.size());
  if (input.below(8) == 0) header.bytes = input.take<std::uint32_t>();
  header.items = input.below(4) == 0 ? input.take<std::uint32_t>() : header.bytes / 2;
  (void)pool.put(worker, header, text);
}

/// The header of an open run, and the word that opens it.
void open_run(FuzzedPool& pool, std::uint32_t worker, Input& input) {
  auto& lane = pool.core.lanes[worker];
  const std::uint32_t slot = input.below(FuzzedPool::slots);
  const std::uint64_t tail = lane.header.tail;
  ring::RecordHeader header{};
  header.mark = ring::record_mark(tail);
  header.kind = static_cast<std::uint8_t>(ring::RecordKind::run);
  header.last = 1;
  header.slot = slot;
  header.ticket = pool.ticket_of(slot);
  header.item = input.below(4);
  const std::size_t offset = tail % lane.ring().size();
  if (offset % 32 != 0) return;
  std::memcpy(lane.ring().data() + offset, &header, ring::open_header_bytes);
  lane.header.run = tail + 1;
  lane.header.progress.enter({header.ticket, header.item + input.below(6), ring::Phase::run});
}

void write_to_lane(FuzzedPool& pool, std::uint32_t worker, Input& input) {
  auto& lane = pool.core.lanes[worker];
  const auto value = input.take<std::uint64_t>();
  if (input.below(2) == 0) {
    const std::size_t offset = input.take<std::uint8_t>() % (sizeof lane.header / 8) * 8;
    std::memcpy(reinterpret_cast<std::byte*>(&lane.header) + offset, &value, sizeof value);
  } else {
    const std::size_t offset = input.take<std::uint16_t>() % (lane.ring().size() - 7);
    std::memcpy(lane.ring().data() + offset, &value, sizeof value);
  }
}

void write_claim(FuzzedPool& pool, Input& input) {
  const std::uint32_t slot = input.below(FuzzedPool::slots);
  ring::Claim claim;
  claim.ticket = pool.ticket_of(slot) + (input.below(4) == 0 ? input.take<std::uint64_t>() : 0);
  claim.state = static_cast<ring::Claim::State>(input.below(4));
  claim.owner = input.below(4) == 0 ? input.take<std::uint16_t>() & 0x3FFF : input.below(4);
  std::uint64_t word = claim.pack();
  if (input.below(4) == 0) word = input.take<std::uint64_t>();
  std::memcpy(static_cast<void*>(&pool.core.claims[slot]), &word, sizeof word);
}

void act(FuzzedPool& pool, Input& input) {
  const std::uint32_t action = input.below(16);
  const std::uint32_t worker = input.below(FuzzedPool::workers);
  // The dead write nothing.
  if (action >= 1 && action <= 8 && !pool.alive(worker)) return pool.start_wanted();
  switch (action) {
    case 0:
      return pool.enqueue(input.below(4), 1 + input.below(4));
    case 1:
      return put_record(pool, worker, input);
    case 2:
      return open_run(pool, worker, input);
    case 3:
      return write_to_lane(pool, worker, input);
    case 4:
      return write_claim(pool, input);
    case 5:
      return pool.die(worker, input.below(2) == 0);
    case 6:
      return pool.bury_killed();
    case 7:
      return pool.start_wanted();
    case 8:
      return pool.core.set_progress(worker, pool.ticket_of(input.below(FuzzedPool::slots)),
                                    input.below(5), static_cast<ring::Phase>(input.below(8)));
    case 9:
      (void)pool.supervisor.audit();
      return;
    case 10:
      return input.below(16) == 0 ? pool.stop(input.below(4)) : pool.round(true);
    case 11:
      return pool.round(input.below(2) == 0);
    default:
      return pool.step(worker);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 4096) return 0;
  Input input(data, size);
  FuzzedPool pool;
  pool.enqueue(input.below(4), 4);
  pool.round(true);
  while (!input.empty()) act(pool, input);
  // Whoever went wild dies.
  for (std::uint32_t worker = 0; worker < FuzzedPool::workers; ++worker) pool.die(worker);
  pool.finish();
  return 0;
}
