/// The parts of a process pool's core over plain memory, with a batch and a codec that do what a
/// test tells them.
///
/// Runs in the test's own process. What a worker would write into claim words and lanes, the test
/// forges.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <libpool/collect/collector.hpp>
#include <libpool/collect/deliveries.hpp>
#include <libpool/errors.hpp>
#include <libpool/submit/dispatcher.hpp>
#include <libpool/submit/feeder.hpp>
#include <libpool/submit/payload_memory.hpp>
#include <tests/support/lane.hpp>

namespace libpool::testing {

/// The text of an exception; "" for none.
inline std::string text_of(const std::exception_ptr& error) {
  if (error == nullptr) return "";
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& exception) {
    return exception.what();
  }
}

/// Keeps what became of its items, as texts: "=value" or "!error".
class TestBatch final : public detail::Batch {
 public:
  explicit TestBatch(Terms terms = {}) : Batch(terms) {}
  std::size_t next_chunk(std::size_t /*pulled*/, std::size_t /*bundle*/) override {
    return chunk_items;
  }
  void put_error(std::size_t index, std::exception_ptr error) noexcept override {
    errors[index] = error;
    put(index, "!" + text_of(error));
  }
  void put(std::size_t index, std::string text) {
    twice = twice || outcomes.contains(index);
    outcomes[index] = std::move(text);
    order.push_back(index);
  }

  std::size_t chunk_items = 1;
  std::map<std::size_t, std::string> outcomes;
  std::map<std::size_t, std::exception_ptr> errors;
  std::vector<std::size_t> order;
  bool twice = false;  ///< an item had two outcomes
};

/// Items are texts.
struct Script {
  std::vector<std::string> items = {};
  std::string call = "call";
  bool call_fails = false;
  bool input_throws = false;                          ///< after the last item, instead of ending
  std::size_t bad_item = SIZE_MAX;                    ///< this one cannot be encoded
  std::size_t no_memory = SIZE_MAX;                   ///< this one finds no memory
  std::optional<std::uint32_t> run_result_size = {};  ///< results may come in runs
  bool receives = false;                              ///< takes results that come in pieces
};

/// Puts the pieces of a text together, behind the word "received".
class TestReception final : public detail::Reception {
 public:
  explicit TestReception(std::shared_ptr<TestBatch> batch) : batch_(std::move(batch)) {}
  void append(std::span<const std::byte> bytes) override {
    text_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  [[nodiscard]] std::size_t size() const noexcept override { return text_.size(); }
  bool complete(std::size_t index) noexcept override {
    batch_->put(index, "received " + text_);
    batch_->settled(1);
    return text_ != "nonsense";
  }

 private:
  std::shared_ptr<TestBatch> batch_;
  std::string text_;
};

class TestCodec final : public detail::ChunkCodec {
 public:
  TestCodec(std::shared_ptr<TestBatch> batch, Script script)
      : batch_(std::move(batch)), script_(std::move(script)) {}

  codec::FunctionToken runner() const noexcept override { return {}; }
  std::uint32_t item_stride() const noexcept override { return 0; }
  void encode_call(codec::ContiguousWriter& out) override {
    out.write(script_.call.data(), script_.call.size());
    if (script_.call_fails) throw SerializationError("call", "Call");
  }
  Pulled encode(Limit limit, codec::ContiguousWriter& out) override {
    const std::size_t begin = out.position();
    for (std::size_t items = 0; items < limit.items; ++items, ++next_) {
      if (out.position() - begin >= limit.bytes) return {items, Pull::more};
      if (next_ == script_.items.size()) {
        if (!script_.input_throws) return {items, Pull::ended};
        return {items, Pull::input_threw, std::make_exception_ptr(std::runtime_error("input"))};
      }
      if (next_ == script_.no_memory) throw std::bad_alloc();
      if (next_ == script_.bad_item) {
        ++next_;
        return {items, Pull::item_failed, std::make_exception_ptr(std::runtime_error("item"))};
      }
      const std::string& item = script_.items[next_];
      const std::uint64_t size = item.size();
      out.write(&size, sizeof size);
      out.write(item.data(), item.size());
      out.align(8);
    }
    return {limit.items, Pull::more};
  }
  bool decode(std::size_t index, codec::PayloadReader result) noexcept override {
    const auto bytes = result.take(result.remaining());
    batch_->put(index,
                "=" + std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    batch_->settled(1);
    return batch_->outcomes[index] != "=undecodable";
  }
  std::unique_ptr<detail::Reception> receive(std::span<const std::byte> first,
                                             std::size_t /*expected*/) override {
    if (!script_.receives) return nullptr;
    auto reception = std::make_unique<TestReception>(batch_);
    reception->append(first);
    return reception;
  }
  std::optional<std::uint32_t> run_result_size() const noexcept override {
    return script_.run_result_size;
  }
  std::size_t decode_run(std::size_t index, codec::PayloadReader results) noexcept override {
    while (results.remaining() != 0) {
      const auto bytes = results.take(*script_.run_result_size);
      batch_->put(index++,
                  "=" + std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    }
    return 0;
  }

 private:
  std::shared_ptr<TestBatch> batch_;
  Script script_;
  std::size_t next_ = 0;
};

/// A batch and its job.
struct TestJob {
  explicit TestJob(Script script = {}, detail::Batch::Terms terms = {})
      : batch(std::make_shared<TestBatch>(terms)), job(std::make_shared<submit::Job>()) {
    job->batch = batch;
    job->codec = std::make_unique<TestCodec>(batch, std::move(script));
  }
  std::shared_ptr<TestBatch> batch;
  std::shared_ptr<submit::Job> job;
};

inline bool no_commit(std::size_t, std::size_t) { return false; }

/// The arena over plain memory.
class TestMemory {
 public:
  explicit TestMemory(std::size_t arena = std::size_t{1} << 16)
      : bytes_(std::make_unique<std::byte[]>(arena)),
        memory(bytes_.get(), memory::Arena(arena, arena, no_commit)) {}
  [[nodiscard]] std::byte* base() const { return bytes_.get(); }

 private:
  std::unique_ptr<std::byte[]> bytes_;

 public:
  submit::PayloadMemory memory;
};

/// Dispatcher, collector and lanes, and the moves that workers would make.
class TestCore {
 public:
  explicit TestCore(std::uint32_t slots = 4, std::uint32_t workers = 2,
                    std::size_t max_result_size = 10'000)
      : descriptors(slots),
        claims(slots),
        lanes(workers),
        dispatcher({descriptors, claims}, plain.memory),
        collector(dispatcher, max_result_size) {
    for (auto& lane : lanes) {
      readers.push_back(lane.make_reader());
      // Not movable, and so made where it stays.
      writers.emplace_back(new ring::ResultWriter(lane.make_writer()));
    }
  }
  ~TestCore() { (void)dispatcher.take_all(); }

  /// A chunk of `items` items, the first of which has index `first_index`, enqueued.
  void enqueue(const TestJob& of, std::uint32_t items, std::size_t first_index = 0) {
    enqueue(of, items, first_index, 64);
  }
  /// The same with a payload of so many bytes, perhaps as a bundle.
  void enqueue(const TestJob& of, std::uint32_t items, std::size_t first_index, std::size_t bytes,
               bool bundled = false) {
    const auto parcel = submit::Parcel::make(of.job, 1);
    parcel->payload = plain.memory.allocate(bytes);
    parcel->payload.size = bytes;
    auto chunk = parcel->add();
    chunk->first_index = first_index;
    chunk->end = items;
    chunk->items_size = bytes;
    chunk->bundled = bundled;
    ++of.job->chunks;
    of.job->pulled += items;
    dispatcher.enqueue(std::move(chunk));
  }

  /// A bundle from index 100 on.
  void enqueue_bundle(const TestJob& of, std::uint32_t items, std::size_t bytes = 64) {
    enqueue(of, items, 100, bytes, true);
  }

  /// The worker claims the oldest chunk.
  ring::TaskClaimer::Claimed claim(std::uint32_t worker) {
    ring::TaskClaimer claimer(descriptors, claims, hint, worker);
    const auto claimed = claimer.claim();
    if (!claimed) throw std::logic_error("nothing to claim");
    return *claimed;
  }

  /// The worker publishes a record.
  void put(std::uint32_t worker, ring::TaskClaimer::Claimed claimed, std::uint32_t item,
           const std::string& text, ring::RecordKind kind = ring::RecordKind::value) {
    lanes[worker].put(*writers[worker], kind, claimed.ticket, claimed.slot, item,
                      std::as_bytes(std::span(text)));
  }

  void set_progress(std::uint32_t worker, std::uint64_t ticket, std::uint32_t item,
                    ring::Phase phase) {
    lanes[worker].header.progress.enter({ticket, item, phase});
  }

  collect::Collector::Drained drain(std::uint32_t worker, bool doomed = false) {
    return collector.drain({worker, 4711, doomed}, readers[worker], collect::OpenRuns::take,
                           deliveries);
  }

  /// Delivers and accounts for what is there.
  collect::Tally deliver() {
    collect::Tally tally;
    deliveries.count(tally);
    deliveries.deliver();
    (void)deliveries.account(tally);
    return tally;
  }

  TestMemory plain;
  std::vector<ring::TaskDescriptor> descriptors;
  std::vector<ring::ClaimWord> claims;
  ring::ScanHint hint{};
  std::vector<Lane> lanes;
  std::vector<ring::ResultReader> readers;
  std::vector<std::unique_ptr<ring::ResultWriter>> writers;
  submit::Dispatcher dispatcher;
  collect::Collector collector;
  collect::Deliveries deliveries{std::make_shared<collect::ResultMemory>(std::size_t{1} << 20)};
};

}  // namespace libpool::testing
