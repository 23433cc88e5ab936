/// ⑨ The collector. Runs in the parent under the core's mutex; see the header.
#include <libpool/collect/collector.hpp>

#include <libpool/errors.hpp>

namespace libpool::collect {

using ring::RecordHeader;
using ring::RecordKind;
using ring::ResultReader;

// Modelled in tests/model/pool.pml as drain.
Collector::Drained Collector::drain(const Producer& producer, ResultReader& reader,
                                    Deliveries& deliveries) {
  Drained drained;
  drained.corrupt = !reader.refresh();
  RecordHeader header{};
  std::span<const std::byte> payload;
  while (!drained.corrupt) {
    const auto look = reader.look(header, payload);
    if (look == ResultReader::Look::empty) break;
    drained.anything = true;
    drained.corrupt = look == ResultReader::Look::corrupt ||
                      !accept(producer, header, payload, deliveries, drained);
    if (!drained.corrupt) reader.pass(header);
  }
  reader.give_back();
  return drained;
}

/// False if the record cannot come from a worker that keeps the protocol.
// Modelled in tests/model/pool.pml as an assertion of drain.
bool Collector::accept(const Producer& producer, const RecordHeader& header,
                       std::span<const std::byte> payload, Deliveries& deliveries,
                       Drained& drained) {
  const auto kind = static_cast<RecordKind>(header.kind);
  if (kind == RecordKind::failed_start) {
    if (!drained.failed_start) drained.failed_start.emplace();
    drained.failed_start->insert(drained.failed_start->end(), payload.begin(), payload.end());
    return drained.failed_start->size() <= max_result_size_;
  }
  submit::Chunk* chunk = dispatcher_.find(header.slot, header.ticket);
  if (chunk == nullptr || !dispatcher_.claimed_by(header.slot, producer.worker)) return false;
  if (header.item < chunk->next) return producer.doomed;
  if (header.item != chunk->next || chunk->settled()) return false;

  // An error takes back what came of a value before it.
  if (kind != chunk->partial_kind) {
    chunk->partial.clear();
    chunk->oversized = false;
  }
  chunk->partial_kind = kind;
  if (payload.size() > max_result_size_ - chunk->partial.size()) chunk->oversized = true;
  if (header.last == 0) {
    if (chunk->oversized) {
      chunk->partial = {};
    } else {
      chunk->partial.insert(chunk->partial.end(), payload.begin(), payload.end());
    }
    return true;
  }
  settle(producer, header, *chunk, payload, deliveries);
  ++drained.outcomes;
  if (++chunk->next == chunk->end) dispatcher_.settle(header.slot);
  return true;
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
  } else if (chunk.oversized) {
    deliveries.add(chunk.job, index, Deliveries::Kind::failed,
                   std::make_exception_ptr(SerializationError(
                       "the result is larger than PoolOptions::max_result_size", "result")));
  } else if (chunk.partial.empty()) {
    deliveries.add(chunk.job, index, kind, payload, producer.pid);
  } else {
    chunk.partial.insert(chunk.partial.end(), payload.begin(), payload.end());
    deliveries.add(chunk.job, index, kind, std::move(chunk.partial), producer.pid);
  }
  chunk.partial = {};
  chunk.partial_kind = RecordKind::value;
  chunk.oversized = false;
  chunk.attempts = 0;
  chunk.unexplained_deaths = 0;
}

}  // namespace libpool::collect
