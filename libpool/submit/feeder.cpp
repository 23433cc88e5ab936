/// ④ The feeder. Runs in the parent; see the header.
#include <libpool/submit/feeder.hpp>

#include <algorithm>

namespace libpool::submit {

namespace {

using detail::ChunkCodec;

/// Encodes the callable; what it throws becomes the outcome of all items of the chunk.
std::exception_ptr encode_call(ChunkCodec& codec, TaskWriter& out) {
  try {
    codec.encode_call(out);
    out.align(16);
    return nullptr;
  } catch (...) {
    return std::current_exception();
  }
}

void note(Fed& fed, const ChunkCodec::Pulled& pulled) {
  fed.pulled = pulled.items;
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

}  // namespace

Fed feed(const std::shared_ptr<Job>& job, std::size_t first_index, std::size_t limit,
         PayloadMemory& memory) noexcept {
  Fed fed;
  fed.first_index = first_index;
  try {
    TaskWriter out(memory, job->expected_bytes);
    const std::exception_ptr call_error = encode_call(*job->codec, out);
    const std::size_t call_size = out.position();
    const auto pulled =
        job->codec->encode(std::min<std::size_t>(limit, ring::max_chunk_items), out);
    note(fed, pulled);
    if (call_error != nullptr) {
      fed.failed = fed.pulled;
      fed.error = call_error;
    } else if (pulled.items != 0) {
      auto chunk = std::make_unique<Chunk>();
      chunk->job = job;
      chunk->call_size = call_size;
      chunk->first_index = first_index;
      chunk->end = static_cast<std::uint32_t>(pulled.items);
      chunk->payload = out.finish();
      // A large payload says little about the next one, whose memory would be reserved for nothing.
      job->expected_bytes = std::min(chunk->payload.size, memory.largest_block());
      fed.chunk = std::move(chunk);
    }
  } catch (...) {
    // No memory for a payload. Items already pulled are lost to the input, so they and it end here.
    fed.ended = true;
    fed.input_error = std::current_exception();
    fed.chunk = nullptr;
    fed.failed = fed.pulled;
    fed.error = fed.input_error;
  }
  return fed;
}

}  // namespace libpool::submit
