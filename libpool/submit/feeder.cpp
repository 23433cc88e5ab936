/// ④ The feeder. Runs in the parent; see the header.
#include <libpool/submit/feeder.hpp>

#include <algorithm>

namespace libpool::submit {

namespace {

using detail::ChunkCodec;

/// Bytes of an encoded callable that is kept for the next payloads, at most; a larger one, with
/// bound values perhaps, is encoded for each, so that a batch does not hold it twice.
constexpr std::size_t largest_kept_call = 4096;

/// A payload that has grown so far takes no more chunks: they would wait for each other.
constexpr std::size_t enough_bytes = std::size_t{16} << 10;

/// Where callable and items begin: a multiple of this, so that blocks in them can be viewed in
/// place.
constexpr std::size_t part_alignment = 16;

/// Encodes the callable; what it throws becomes the outcome of all items of the chunk.
std::exception_ptr encode_call(Job& job, TaskWriter& out) {
  try {
    if (!job.call.empty()) {
      out.write(job.call.data(), job.call.size());
      return nullptr;
    }
    out.write(&job.runner, sizeof job.runner);
    job.codec->encode_call(out);
    out.align(part_alignment);
    const auto call = out.written();
    const bool used_again = job.batch->terms().feeding != detail::Feeding::at_submit;
    if (used_again && call.size() <= largest_kept_call) job.call.assign(call.begin(), call.end());
    return nullptr;
  } catch (...) {
    return std::current_exception();
  }
}

/// Counts what one chunk's pull gave.
void note(Fed& fed, const ChunkCodec::Pulled& pulled) {
  fed.pulled += pulled.items;
  switch (pulled.what) {
    case ChunkCodec::Pull::more:
      break;
    case ChunkCodec::Pull::ended:
      fed.ended = true;
      break;
    case ChunkCodec::Pull::input_threw:
      fed.ended = true;
      fed.input_error = pulled.error;
      break;
    case ChunkCodec::Pull::item_failed:
      ++fed.pulled;
      fed.failed = 1;
      fed.error = pulled.error;
      break;
  }
}

/// Bytes after which a chunk takes no more items. One that is cut by its bytes leaves the arena
/// room for several.
std::size_t enough_for_chunk(const detail::Batch::Terms& terms, const PayloadMemory& memory) {
  if (terms.singly) return enough_bytes;
  return terms.chunk_bytes == SIZE_MAX ? SIZE_MAX
                                       : std::min(terms.chunk_bytes, memory.largest_block() / 4);
}

/// Pulls and encodes the items of one chunk behind what is written.
void feed_chunk(Fed& fed, Parcel& parcel, std::size_t limit, std::uint64_t call_size,
                TaskWriter& out, std::size_t bytes) {
  out.align(part_alignment);
  const std::size_t begin = out.position();
  const std::size_t pulled_before = fed.pulled;
  const auto pulled =
      parcel.job->codec->encode({std::min<std::size_t>(limit, ring::max_chunk_items), bytes}, out);
  note(fed, pulled);
  if (pulled.items == 0) return;
  Chunk::Owner chunk = parcel.add();
  chunk->call_size = call_size;
  chunk->items_offset = begin;
  chunk->items_size = out.position() - begin;
  chunk->first_index = fed.first_index + pulled_before;
  chunk->end = static_cast<std::uint32_t>(pulled.items);
  chunk->bundled = parcel.job->batch->terms().singly && pulled.items > 1;
  fed.chunks.push_back(std::move(chunk));
}

}  // namespace

Fed feed(const std::shared_ptr<Job>& job, std::size_t most_chunks, PayloadMemory& memory) noexcept {
  Fed fed;
  detail::Batch& batch = *job->batch;
  fed.first_index = batch.pulled();
  const std::size_t bundle = job->bundle;
  std::size_t limit = batch.next_chunk(fed.first_index, bundle);
  fed.wanted = limit != 0;
  if (!fed.wanted) return fed;
  try {
    TaskWriter out(memory, job->expected_bytes);
    const std::exception_ptr call_error = encode_call(*job, out);
    const std::uint64_t call_size = out.position();
    const auto parcel = Parcel::make(job, most_chunks);
    const std::size_t bytes = enough_for_chunk(batch.terms(), memory);
    do {
      feed_chunk(fed, *parcel, limit, call_size, out, bytes);
    } while (fed.chunks.size() < most_chunks && !fed.ended && fed.failed == 0 &&
             call_error == nullptr && out.position() < std::min(enough_bytes, bytes) &&
             (limit = batch.next_chunk(fed.first_index + fed.pulled, bundle)) != 0);
    if (call_error != nullptr) {
      fed.chunks.clear();
      fed.failed = fed.pulled;
      fed.error = call_error;
    } else if (!fed.chunks.empty()) {
      parcel->payload = out.finish();
      parcel->payload.chunks = fed.chunks.size();
      // A large payload says little about the next one, whose memory would be reserved for nothing.
      job->expected_bytes = std::min(parcel->payload.size, memory.largest_block());
      job->chunk_bytes = parcel->payload.size / fed.chunks.size();
    }
  } catch (...) {
    // No memory for a payload. Items already pulled are lost to the input, so they and it end here.
    fed.ended = true;
    fed.input_error = std::current_exception();
    fed.chunks.clear();
    fed.failed = fed.pulled;
    fed.error = fed.input_error;
  }
  batch.pulled(fed.pulled);
  return fed;
}

}  // namespace libpool::submit
