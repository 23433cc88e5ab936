/// ⑨ The collector. Runs in the parent under the core's mutex; see the header.
#include <libpool/collect/collector.hpp>

#include <libpool/errors.hpp>

namespace libpool::collect {

using ring::RecordHeader;
using ring::RecordKind;
using ring::ResultReader;

// Modelled in tests/model/pool.pml as drain.
Collector::Drained Collector::drain(const Producer& producer, ResultReader& reader,
                                    OpenRuns open_runs, Deliveries& deliveries) {
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
  if (open_runs == OpenRuns::take && !drained.corrupt) {
    if (const auto item = reader.look_open(header, payload)) {
      drained.corrupt =
          !accept_run(producer, header, *item - header.item, payload, deliveries, drained);
      drained.anything = drained.anything || drained.outcomes != 0;
    }
  }
  reader.give_back();
  return drained;
}

/// The same for the first `items` results of a run, of which some may have been taken before.
bool Collector::accept_run(const Producer& producer, const RecordHeader& header,
                           std::uint32_t items, std::span<const std::byte> payload,
                           Deliveries& deliveries, Drained& drained) {
  submit::Chunk* chunk = dispatcher_.find(header.slot, header.ticket);
  if (chunk == nullptr || !dispatcher_.claimed_by(header.slot, producer.worker)) return false;
  const auto size = chunk->job->codec->run_result_size();
  if (!size || header.item > chunk->next || header.item > chunk->end ||
      items > chunk->end - header.item || items > payload.size() / *size) {
    return false;
  }
  const std::uint32_t taken = chunk->next - header.item;
  if (items <= taken) return true;
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
  return true;
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
  if (kind == RecordKind::run) {
    if (header.items == 0)
      return true;  // it fills the end of the ring, or failed at its first item
    if (!accept_run(producer, header, header.items, payload, deliveries, drained)) return false;
    const submit::Chunk* chunk = dispatcher_.find(header.slot, header.ticket);
    if (chunk->settled()) dispatcher_.settle(header.slot);
    return true;
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
      if (chunk->partial.empty()) chunk->partial = deliveries.spare_buffer();
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
