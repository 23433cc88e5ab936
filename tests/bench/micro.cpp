/// What single parts cost, in one process and without a partner: codec, rings, chunk rule.
///
/// With Google Benchmark; its options, such as --benchmark_filter, are the program's.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include <libpool/codec/codec.hpp>
#include <libpool/ring/result_ring.hpp>
#include <libpool/ring/task_ring.hpp>
#include <libpool/submit/chunker.hpp>
#include <tests/support/lane.hpp>

namespace {

namespace codec = libpool::codec;
namespace ring = libpool::ring;
using benchmark::DoNotOptimize;
using benchmark::State;

/// A value that the codec takes apart member by member.
struct Record {
  std::int64_t key = 0;
  std::string name{};
  std::vector<double> values{};
};

/// A payload on the heap, in memory that is kept.
class Buffer final : public codec::ContiguousWriter {
 private:
  void make_room(std::size_t wanted) override {
    const auto used = static_cast<std::size_t>(cursor_ - begin_);
    memory_.resize(2 * used + wanted);
    begin_ = memory_.data();
    cursor_ = begin_ + used;
    end_ = begin_ + memory_.size();
  }
  std::vector<std::byte> memory_;
};

template <class T>
void encode_and_decode(State& state, const T& value) {
  Buffer buffer;
  for (auto _ : state) {
    buffer.rewind(0);
    codec::encode(buffer, value);
    codec::PayloadReader reader(buffer.written());
    DoNotOptimize(codec::decode<T>(reader));
  }
}

void codec_int64(State& state) { encode_and_decode(state, std::int64_t{42}); }

void codec_string(State& state) {
  encode_and_decode(state, std::string(static_cast<std::size_t>(state.range(0)), 'x'));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void codec_doubles(State& state) {
  encode_and_decode(state, std::vector<double>(static_cast<std::size_t>(state.range(0)) / 8, 1.5));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void codec_strings(State& state) {
  encode_and_decode(state, std::vector<std::string>(100, "a string that no small one holds"));
}

void codec_aggregate(State& state) { encode_and_decode(state, Record{1, "name", {1, 2, 3, 4}}); }

/// A slot's whole life: reserved, published, claimed and released, among `range` that are ready.
void task_ring_slot(State& state) {
  constexpr std::size_t slots = 256;
  std::vector<ring::TaskDescriptor> descriptors(slots);
  std::vector<ring::ClaimWord> claims(slots);
  ring::ScanHint hint{};
  ring::TaskPublisher publisher(descriptors, claims);
  ring::TaskClaimer claimer(descriptors, claims, hint, 0);
  std::uint64_t ticket = 0;
  const auto publish = [&] {
    const std::uint32_t slot = publisher.reserve().value();
    publisher.descriptor(slot).ticket = ++ticket;
    publisher.publish(slot, ticket);
  };
  for (std::int64_t i = 1; i < state.range(0); ++i) publish();
  for (auto _ : state) {
    publish();
    publisher.release(claimer.claim().value().slot);
  }
}

/// A result's whole life: begun, written, published, looked at and passed.
void result_ring_record(State& state) {
  libpool::testing::Lane lane(std::size_t{64} << 10);
  auto writer = lane.make_writer();
  auto reader = lane.make_reader();
  const std::vector<std::byte> bytes(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    lane.put(writer, ring::RecordKind::value, 1, 0, 0, bytes);
    if (!reader.refresh()) state.SkipWithError("impossible tail");
    ring::RecordHeader header{};
    std::span<const std::byte> payload;
    // At the end of the ring a record is continued at its start.
    while (reader.look(header, payload) == ring::ResultReader::Look::record) {
      DoNotOptimize(payload.data());
      reader.pass(header);
    }
    reader.give_back();
  }
}

void automatic_chunk(State& state) {
  std::size_t items = 1;
  for (auto _ : state) {
    DoNotOptimize(libpool::submit::automatic_chunk(items++, 0, 2));
  }
}

BENCHMARK(codec_int64);
BENCHMARK(codec_string)->RangeMultiplier(64)->Range(8, 1 << 20);
BENCHMARK(codec_doubles)->RangeMultiplier(64)->Range(8, 1 << 20);
BENCHMARK(codec_strings);
BENCHMARK(codec_aggregate);
BENCHMARK(task_ring_slot)->Arg(1)->Arg(16)->Arg(256);
BENCHMARK(result_ring_record)->Arg(8)->Arg(256)->Arg(16 << 10);
BENCHMARK(automatic_chunk);

}  // namespace

BENCHMARK_MAIN();
