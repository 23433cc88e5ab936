/// Facts about deliveries: bytes copied when they are added, outcomes in order, jobs accounted for.
#include <libpool/collect/deliveries.hpp>

#include <doctest/doctest.h>

#include <tests/support/core_parts.hpp>

using namespace libpool;
using collect::Deliveries;
using collect::Tally;
using testing::TestJob;
using Kind = Deliveries::Kind;

namespace {

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::exception_ptr error(const char* text) {
  return std::make_exception_ptr(std::runtime_error(text));
}

/// Checks where the bytes of each result start.
class AligningCodec final : public detail::ChunkCodec {
 public:
  codec::FunctionToken runner() const noexcept override { return {}; }
  std::uint32_t item_stride() const noexcept override { return 0; }
  void encode_call(codec::ContiguousWriter&) override {}
  Pulled encode(Limit, codec::ContiguousWriter&) override { return {}; }
  bool decode(std::size_t, codec::PayloadReader result) noexcept override {
    const auto place = reinterpret_cast<std::uintptr_t>(result.take(result.remaining()).data());
    CHECK(place % 16 == 0);
    return true;
  }
};

std::shared_ptr<collect::ResultMemory> result_memory() {
  return std::make_shared<collect::ResultMemory>(std::size_t{1} << 20);
}

}  // namespace

TEST_CASE("bytes count as they were when they were added") {
  Deliveries deliveries(result_memory());
  const TestJob test;
  auto bytes = bytes_of("truth");
  deliveries.add(test.job, 5, Kind::value, std::span<const std::byte>(bytes), 1);
  bytes = bytes_of("lies!");
  CHECK(test.batch->outcomes.empty());
  deliveries.deliver();
  CHECK(test.batch->outcomes[5] == "=truth");
}

TEST_CASE(
    "outcomes of all kinds are delivered in the order of their addition and counted by kind") {
  Deliveries deliveries(result_memory());
  const TestJob test;
  const auto value = bytes_of("v");
  deliveries.add(test.job, 4, Kind::value, std::span<const std::byte>(value), 1);
  deliveries.add(test.job, 2, Kind::crashed, error("crashed"));
  deliveries.add(test.job, 3, Kind::value, bytes_of("large"), 1);
  deliveries.add(test.job, 1, Kind::timed_out, error("late"));
  deliveries.add(test.job, 0, Kind::failed, error("failed"));
  deliveries.add(test.job, 5, Kind::value, bytes_of("undecodable"), 1);
  deliveries.add(test.job, 6, Kind::error, bytes_of("not an encoded exception"), 1);
  CHECK_FALSE(deliveries.empty());
  Tally tally;
  deliveries.count(tally);
  CHECK(tally.succeeded == 3);  // before it is known that one cannot be decoded
  deliveries.deliver();
  CHECK(test.batch->order == std::vector<std::size_t>{4, 2, 3, 1, 0, 5, 6});
  CHECK(test.batch->outcomes[3] == "=large");
  CHECK(test.batch->outcomes[2] == "!crashed");
  CHECK(test.batch->outcomes[1] == "!late");
  CHECK(test.batch->outcomes[6].starts_with("!"));
  CHECK_FALSE(test.batch->twice);
  (void)deliveries.account(tally);
  CHECK(tally.succeeded == 2);
  CHECK(tally.failed == 3);
  CHECK(tally.crashed == 1);
  CHECK(tally.timed_out == 1);
}

TEST_CASE("each job gets its own outcomes and its share of the account, however they are mixed") {
  Deliveries deliveries(result_memory());
  const TestJob first;
  const TestJob second;
  for (std::size_t index = 0; index < 100; ++index) {
    const TestJob& test = index % 3 == 0 ? first : second;
    deliveries.add(test.job, index, Kind::value, bytes_of(std::to_string(index)), 1);
  }
  deliveries.deliver();
  CHECK(first.job->settled == 0);
  Tally tally;
  (void)deliveries.account(tally);
  CHECK(first.job->settled == 34);
  CHECK(second.job->settled == 66);
  CHECK(first.batch->outcomes.size() == 34);
  CHECK(second.batch->outcomes.size() == 66);
  for (const auto& [index, text] : second.batch->outcomes)
    CHECK(text == "=" + std::to_string(index));
}

TEST_CASE("what was received counts as a result, unless it is none") {
  Deliveries deliveries(result_memory());
  const TestJob test;
  for (const char* text : {"text", "nonsense"}) {
    auto reception = std::make_unique<testing::TestReception>(test.batch);
    reception->append(bytes_of(text));
    deliveries.add(test.job, text == std::string("text") ? 3 : 4, std::move(reception), 1);
  }
  Tally tally;
  deliveries.count(tally);
  CHECK(tally.succeeded == 2);
  deliveries.deliver();
  CHECK(test.batch->outcomes[3] == "received text");
  (void)deliveries.account(tally);
  CHECK(tally.succeeded == 1);
  CHECK(tally.failed == 1);
}

TEST_CASE("accounting empties everything and hands out the references to the jobs") {
  Deliveries deliveries(result_memory());
  std::weak_ptr<submit::Job> job;
  {
    TestJob test;
    job = test.job;
    deliveries.add(test.job, 0, Kind::value, bytes_of("x"), 1);
  }
  Tally tally;
  deliveries.count(tally);
  deliveries.deliver();
  auto concerned = deliveries.account(tally);
  CHECK(concerned.size() == 1);
  CHECK_FALSE(job.expired());
  concerned.clear();
  CHECK(job.expired());
  CHECK(deliveries.empty());
  deliveries.deliver();
  CHECK(deliveries.account(tally).empty());
  CHECK(tally.succeeded == 1);
}

TEST_CASE("results start at multiples of 16 wherever they come from") {
  Deliveries deliveries(result_memory());
  auto job = std::make_shared<submit::Job>();
  job->codec = std::make_unique<AligningCodec>();
  for (std::size_t size = 0; size < 100; ++size) {
    const std::vector<std::byte> bytes(size);
    deliveries.add(job, size, Kind::value, std::span<const std::byte>(bytes), 1);
    if (size != 0) deliveries.add(job, size, Kind::value, bytes, 1);
  }
  deliveries.deliver();
}
