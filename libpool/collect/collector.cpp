/// ⑨ The collector. Runs in the parent under the core's mutex; see the header.
#include <libpool/collect/collector.hpp>

#include <algorithm>

#include <libpool/errors.hpp>

namespace libpool::collect {

using ring::RecordHeader;
using ring::RecordKind;
using ring::ResultReader;

/// Bytes of a result, by the worker's word in its first fragment: nothing depends on its being
/// true, and so little is risked on it.
std::size_t Collector::expected_size(const RecordHeader& header,
                                     std::span<const std::byte> payload) const noexcept {
  constexpr std::size_t believed = std::size_t{64} << 20;
  const std::size_t more = std::min<std::size_t>(header.items, believed);
  return std::min(payload.size() + more, max_result_size_);
}

// Modelled in tests/model/pool.pml as drain.
Collector::Drained Collector::drain(const Producer& producer, ResultReader& reader,
                                    OpenRuns open_runs, Deliveries& deliveries) {
  Drained drained;
  const auto note = [&drained](Verdict verdict) {
    drained.disowned = verdict == Verdict::disowned;
    drained.corrupt = verdict == Verdict::corrupt;
    return verdict == Verdict::good;
  };
  bool good = note(reader.refresh() ? Verdict::good : Verdict::corrupt);
  RecordHeader header{};
  std::span<const std::byte> payload;
  while (good) {
    const auto look = reader.look(header, payload);
    if (look == ResultReader::Look::empty) break;
    drained.anything = true;
    good = note(look == ResultReader::Look::corrupt
                    ? Verdict::corrupt
                    : accept(producer, header, payload, deliveries, drained));
    if (good) reader.pass(header);
  }
  if (open_runs == OpenRuns::take && good) {
    if (const auto item = reader.look_open(header, payload)) {
      (void)note(accept_run(producer, header, *item - header.item, payload, deliveries, drained));
      drained.anything = drained.anything || drained.outcomes != 0;
    }
  }
  reader.give_back();
  return drained;
}

/// Whether the worker may speak of the chunk that is published in this slot.
bool Collector::holds(const Producer& producer, std::uint32_t slot) const noexcept {
  return producer.claims_void || dispatcher_.claimed_by(slot, producer.worker);
}

/// The same for the first `items` results of a run, of which some may have been taken before.
Collector::Verdict Collector::accept_run(const Producer& producer, const RecordHeader& header,
                                         std::uint32_t items, std::span<const std::byte> payload,
                                         Deliveries& deliveries, Drained& drained) {
  submit::Chunk* chunk = dispatcher_.find(header.slot, header.ticket);
  if (chunk == nullptr) return producer.claims_void ? Verdict::good : Verdict::corrupt;
  if (!holds(producer, header.slot)) return Verdict::disowned;
  const auto size = chunk->job->codec->run_result_size();
  if (!size || header.item > chunk->next || header.item > chunk->end ||
      items > chunk->end - header.item || items > payload.size() / *size) {
    return Verdict::corrupt;
  }
  const std::uint32_t taken = chunk->next - header.item;
  if (items <= taken) return Verdict::good;
  const std::uint32_t fresh = items - taken;
  if (!chunk->job->abandoned) {
    deliveries.add_run(chunk->job, chunk->index_of(chunk->next), fresh,
                       payload.subspan(std::size_t{taken} * *size, std::size_t{fresh} * *size),
                       producer.pid);
  }
  chunk->next += fresh;
  chunk->attempts = 0;
  chunk->unexplained_deaths = 0;
  drained.outcomes += fresh;
  drained.job = chunk->job.get();
  return Verdict::good;
}

/// What to make of a record: `corrupt` if it cannot come from a worker that keeps the protocol.
// Modelled in tests/model/pool.pml as an assertion of drain.
Collector::Verdict Collector::accept(const Producer& producer, const RecordHeader& header,
                                     std::span<const std::byte> payload, Deliveries& deliveries,
                                     Drained& drained) {
  const auto kind = static_cast<RecordKind>(header.kind);
  if (kind == RecordKind::failed_start) {
    if (!drained.failed_start) drained.failed_start.emplace();
    drained.failed_start->insert(drained.failed_start->end(), payload.begin(), payload.end());
    return drained.failed_start->size() <= max_result_size_ ? Verdict::good : Verdict::corrupt;
  }
  if (kind == RecordKind::run) {
    // One without items fills the end of the ring, or failed at its first item.
    if (header.items == 0) return Verdict::good;
    const Verdict verdict =
        accept_run(producer, header, header.items, payload, deliveries, drained);
    const submit::Chunk* chunk = dispatcher_.find(header.slot, header.ticket);
    if (verdict == Verdict::good && chunk != nullptr && chunk->settled()) {
      dispatcher_.settle(header.slot);
    }
    return verdict;
  }
  submit::Chunk* chunk = dispatcher_.find(header.slot, header.ticket);
  if (chunk == nullptr) return producer.claims_void ? Verdict::good : Verdict::corrupt;
  if (!holds(producer, header.slot)) return Verdict::disowned;
  if (header.item < chunk->next) {
    return producer.doomed || producer.claims_void ? Verdict::good : Verdict::corrupt;
  }
  if (header.item != chunk->next || chunk->settled()) return Verdict::corrupt;
  return accept_part(producer, header, *chunk, payload, deliveries, drained);
}

/// The outcome of item `next`, or a fragment of it.
Collector::Verdict Collector::accept_part(const Producer& producer, const RecordHeader& header,
                                          submit::Chunk& chunk, std::span<const std::byte> payload,
                                          Deliveries& deliveries, Drained& drained) {
  submit::PartialOutcome& partial = chunk.partial;
  const bool from_another =
      partial.from != submit::PartialOutcome::no_worker && partial.from != producer.worker;
  // Two workers run the item, and what they send must not become one value.
  if (from_another && !producer.claims_void) return Verdict::disowned;
  // An error takes back what came of a value before it.
  const auto kind = static_cast<RecordKind>(header.kind);
  if (from_another || kind != partial.kind) partial.reset();
  partial.kind = kind;
  partial.from = producer.worker;
  if (payload.size() > max_result_size_ - partial.size()) partial.oversized = true;
  if (header.last == 0) {
    if (partial.oversized) {
      partial.drop();
    } else {
      append(header, chunk, payload, deliveries.memory());
    }
    return Verdict::good;
  }
  settle(producer, header, chunk, payload, deliveries);
  ++drained.outcomes;
  drained.job = chunk.job.get();
  if (++chunk.next == chunk.end) dispatcher_.settle(header.slot);
  return Verdict::good;
}

/// A fragment of the outcome of item `next`, not the last one.
void Collector::append(const RecordHeader& header, submit::Chunk& chunk,
                       std::span<const std::byte> payload, ResultMemory& memory) const {
  submit::PartialOutcome& partial = chunk.partial;
  if (partial.reception != nullptr) {
    partial.reception->append(payload);
    return;
  }
  if (partial.bytes.capacity() == 0) {
    const std::size_t expected = expected_size(header, payload);
    if (partial.kind == RecordKind::value && !chunk.job->abandoned) {
      partial.reception = chunk.job->codec->receive(payload, expected);
      if (partial.reception != nullptr) return;
    }
    partial.bytes = memory.take(expected);
  }
  memory.append(partial.bytes, payload);
}

/// The outcome of item `next` is complete with this payload.
void Collector::settle(const Producer& producer, const RecordHeader& header, submit::Chunk& chunk,
                       std::span<const std::byte> payload, Deliveries& deliveries) {
  const std::size_t index = chunk.index_of(header.item);
  const auto kind = static_cast<RecordKind>(header.kind) == RecordKind::value
                        ? Deliveries::Kind::value
                        : Deliveries::Kind::error;
  if (chunk.job->abandoned) {
    // Nobody waits for it.
  } else if (chunk.partial.oversized) {
    deliveries.add(chunk.job, index, Deliveries::Kind::failed,
                   std::make_exception_ptr(SerializationError(
                       "the result is larger than PoolOptions::max_result_size", "result")));
  } else if (chunk.partial.reception != nullptr) {
    chunk.partial.reception->append(payload);
    deliveries.add(chunk.job, index, std::move(chunk.partial.reception), producer.pid);
  } else if (chunk.partial.bytes.empty()) {
    deliveries.add(chunk.job, index, kind, payload, producer.pid);
  } else {
    deliveries.memory().append(chunk.partial.bytes, payload);
    deliveries.add(chunk.job, index, kind, std::move(chunk.partial.bytes), producer.pid);
  }
  chunk.partial.reset();
  chunk.attempts = 0;
  chunk.unexplained_deaths = 0;
}

}  // namespace libpool::collect
