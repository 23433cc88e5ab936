/// Facts about the collector: which records become outcomes and which show a broken worker.
#include <libpool/collect/collector.hpp>

#include <doctest/doctest.h>

#include <tests/support/core_parts.hpp>

using namespace libpool;
using ring::RecordHeader;
using ring::RecordKind;
using testing::TestCore;
using testing::TestJob;

namespace {

using Outcomes = std::map<std::size_t, std::string>;

constexpr std::size_t max_result_size = 1000;

/// One chunk of four items from index 100 on, claimed by worker 0.
struct Claimed {
  explicit Claimed(testing::Script script = {}) : test(std::move(script)) {
    core.enqueue(test, 4, 100);
    core.enqueue(test, 4, 200);
    core.dispatcher.refill(0);
    claimed = core.claim(0);
  }
  [[nodiscard]] const submit::Chunk* chunk() {
    return core.dispatcher.find(claimed.slot, claimed.ticket);
  }
  /// A record that says what it likes, in worker 0's lane.
  void forge(RecordKind kind, std::uint64_t ticket, std::uint32_t slot, std::uint32_t item,
             bool last, const std::string& text) {
    core.lanes[0].forge(
        core.lanes[0].header.tail,
        {0, static_cast<std::uint8_t>(kind), last ? std::uint8_t{1} : std::uint8_t{0}, 0, ticket,
         slot, item, static_cast<std::uint32_t>(text.size()), 0},
        text);
  }
  void forge(std::uint32_t item, bool last, const std::string& text,
             RecordKind kind = RecordKind::value) {
    forge(kind, claimed.ticket, claimed.slot, item, last, text);
  }

  TestCore core{4, 2, max_result_size};
  TestJob test;
  ring::TaskClaimer::Claimed claimed{};
};

}  // namespace

TEST_CASE("records become outcomes in their order; after the last the slot is free") {
  Claimed at;
  at.core.put(0, at.claimed, 0, "a");
  at.core.put(0, at.claimed, 1, "");
  auto drained = at.core.drain(0);
  CHECK(drained.outcomes == 2);
  CHECK(drained.anything);
  CHECK_FALSE(drained.corrupt);
  CHECK(at.chunk()->next == 2);
  at.core.put(0, at.claimed, 2, "c");
  at.core.put(0, at.claimed, 3, "undecodable");
  CHECK(at.core.drain(0).outcomes == 2);
  CHECK(at.chunk() == nullptr);
  const auto tally = at.core.deliver();
  CHECK(at.test.batch->outcomes ==
        Outcomes{{100, "=a"}, {101, "="}, {102, "=c"}, {103, "=undecodable"}});
  CHECK(at.test.batch->order == std::vector<std::size_t>{100, 101, 102, 103});
  CHECK(tally.succeeded == 3);
  CHECK(tally.failed == 1);
  CHECK(at.test.job->settled == 4);
  CHECK_FALSE(at.core.drain(0).anything);
}

TEST_CASE("a record for anything but the next item of a chunk that the worker holds is corrupt") {
  struct Lie {
    std::uint64_t ticket;
    std::uint32_t slot;
    std::uint32_t item;
  };
  for (const Lie lie :
       {Lie{1, 0, 1}, Lie{1, 0, 3}, Lie{1, 0, 4}, Lie{1, 0, UINT32_MAX}, Lie{2, 0, 0}, Lie{0, 0, 0},
        Lie{UINT64_MAX, 0, 0}, Lie{1, 1, 0}, Lie{1, 2, 0}, Lie{1, 4, 0}, Lie{1, UINT32_MAX, 0}}) {
    Claimed at;
    REQUIRE(at.claimed.ticket == 1);
    REQUIRE(at.claimed.slot == 0);
    at.forge(RecordKind::value, lie.ticket, lie.slot, lie.item, true, "lie");
    const auto drained = at.core.drain(0);
    CHECK(drained.corrupt);
    CHECK(drained.outcomes == 0);
    CHECK(at.core.deliveries.empty());
    CHECK(at.chunk()->next == 0);
  }
}

TEST_CASE("a record for a chunk that the worker does not hold by its claim word is left there") {
  Claimed at;
  at.core.put(1, at.claimed, 0, "stolen");
  Claimed unclaimed;
  unclaimed.forge(RecordKind::value, 2, 1, 0, true, "of nobody");
  for (auto* each : {&at, &unclaimed}) {
    for (int round = 0; round < 2; ++round) {
      const auto drained = each->core.drain(each == &at ? 1 : 0);
      CHECK(drained.disowned);
      CHECK_FALSE(drained.corrupt);
      CHECK(drained.outcomes == 0);
    }
    CHECK(each->core.deliveries.empty());
    CHECK(each->chunk()->next == 0);
  }
}

TEST_CASE("what rings say of live chunks counts without claim words when these are void") {
  Claimed at;
  at.core.put(1, at.claimed, 0, "found");
  at.core.put(1, {at.claimed.slot, 77}, 0, "of a chunk that is over");
  at.core.put(1, at.claimed, 0, "again");
  at.core.put(1, at.claimed, 1, "found too");
  const auto drained = at.core.collector.drain({1, 4711, false, true}, at.core.readers[1],
                                               collect::OpenRuns::take, at.core.deliveries);
  CHECK(drained.outcomes == 2);
  CHECK_FALSE(drained.corrupt);
  CHECK(at.chunk()->next == 2);
  at.core.deliver();
  CHECK(at.test.batch->outcomes == Outcomes{{100, "=found"}, {101, "=found too"}});
}

TEST_CASE("an item has one outcome, however often a worker sends it") {
  Claimed at;
  at.core.put(0, at.claimed, 0, "first");
  at.core.put(0, at.claimed, 0, "second");
  const auto drained = at.core.drain(0);
  CHECK(drained.corrupt);
  CHECK(drained.outcomes == 1);
  at.core.deliver();
  CHECK(at.test.batch->outcomes == Outcomes{{100, "=first"}});
}

TEST_CASE("a forged tail or header is corrupt, and what was before it counts") {
  Claimed at;
  at.core.put(0, at.claimed, 0, "good");
  at.forge(static_cast<RecordKind>(0), at.claimed.ticket, at.claimed.slot, 1, true, "bad");
  const auto drained = at.core.drain(0);
  CHECK(drained.corrupt);
  CHECK(drained.outcomes == 1);
  Claimed other;
  other.core.lanes[0].header.tail = 33;
  CHECK(other.core.drain(0).corrupt);
}

TEST_CASE("late records of a doomed worker for the item that has its outcome are skipped") {
  Claimed at;
  at.core.put(0, at.claimed, 0, "a");
  REQUIRE(at.core.drain(0).outcomes == 1);
  ++at.core.dispatcher.find(at.claimed.slot, at.claimed.ticket)->next;  // timed out
  at.forge(1, false, "late ");
  at.forge(1, true, "record");
  const auto drained = at.core.drain(0, true);
  CHECK_FALSE(drained.corrupt);
  CHECK(drained.outcomes == 0);
  CHECK(at.chunk()->next == 2);
  at.core.deliver();
  CHECK(at.test.batch->outcomes == Outcomes{{100, "=a"}});
}

TEST_CASE("late records of a doomed worker are skipped after the last item too") {
  Claimed at;
  at.core.dispatcher.find(at.claimed.slot, at.claimed.ticket)->next = 4;
  at.forge(3, true, "late");
  CHECK_FALSE(at.core.drain(0, true).corrupt);
  CHECK(at.chunk()->settled());
  at.forge(4, true, "beyond");
  CHECK(at.core.drain(0, true).corrupt);
}

TEST_CASE("fragments become one outcome, also when they come in different rounds") {
  Claimed at;
  at.forge(0, false, "one ");
  CHECK(at.core.drain(0).outcomes == 0);
  at.forge(0, false, "");
  at.forge(0, false, "two ");
  CHECK(at.core.drain(0).outcomes == 0);
  at.forge(0, true, "three");
  at.forge(1, true, "next");
  CHECK(at.core.drain(0).outcomes == 2);
  at.core.deliver();
  CHECK(at.test.batch->outcomes == Outcomes{{100, "=one two three"}, {101, "=next"}});
}

TEST_CASE("an error after fragments of a value is the outcome, alone") {
  Claimed at;
  at.forge(0, false, "half a va");
  at.forge(0, false, "garbage", RecordKind::error);
  at.forge(0, true, " of a kind", RecordKind::error);
  at.forge(1, true, "next");
  CHECK(at.core.drain(0).outcomes == 2);
  const auto tally = at.core.deliver();
  CHECK(tally.failed == 1);
  CHECK(at.test.batch->outcomes[100].starts_with("!"));
  CHECK(at.test.batch->outcomes[101] == "=next");
}

TEST_CASE("a result at the bound is delivered; one byte more is a SerializationError") {
  for (const std::size_t extra : {0u, 1u, 500u}) {
    Claimed at;
    at.forge(0, false, std::string(600, 'x'));
    at.forge(0, false, std::string(400, 'y'));
    at.forge(0, true, std::string(extra, 'z'));
    at.forge(1, true, std::string(max_result_size + extra, 'q'));
    at.forge(2, true, "small");
    CHECK(at.core.drain(0).outcomes == 3);
    const auto tally = at.core.deliver();
    CHECK(tally.failed == (extra == 0 ? 0 : 2));
    CHECK(at.test.batch->outcomes[102] == "=small");
    if (extra == 0) {
      CHECK(at.test.batch->outcomes[100].size() == max_result_size + 1);
      continue;
    }
    for (const std::size_t index : {100u, 101u}) {
      CHECK_THROWS_AS(std::rethrow_exception(at.test.batch->errors[index]), SerializationError);
    }
  }
}

TEST_CASE("fragments past the bound are not kept") {
  Claimed at;
  for (int i = 0; i < 1000; ++i) {
    at.forge(0, false, std::string(992, 'x'));  // with its header a quarter of the ring
    REQUIRE_FALSE(at.core.drain(0).corrupt);
    REQUIRE(at.chunk()->partial.bytes.capacity() <= 2 * max_result_size);
  }
}

TEST_CASE("fragments of a result go to where it will stay, if its job takes them") {
  Claimed at(testing::Script{.receives = true});
  at.forge(0, false, "large ");
  at.forge(0, false, "and ");
  CHECK(at.core.drain(0).outcomes == 0);
  CHECK(at.chunk()->partial.bytes.capacity() == 0);
  at.forge(0, true, "whole");
  at.forge(1, true, "small");
  CHECK(at.core.drain(0).outcomes == 2);
  at.core.deliver();
  CHECK(at.test.batch->outcomes[100] == "received large and whole");
  CHECK(at.test.batch->outcomes[101] == "=small");
}

TEST_CASE("an error takes back what was received, and errors are received by nobody") {
  Claimed at(testing::Script{.receives = true});
  at.forge(0, false, "value");
  at.forge(0, false, "gar", RecordKind::error);
  at.forge(0, true, "bage", RecordKind::error);
  CHECK(at.core.drain(0).outcomes == 1);
  at.core.deliver();
  CHECK(at.test.batch->outcomes[100].starts_with("!"));
}

TEST_CASE("what is received has the same bound") {
  Claimed at(testing::Script{.receives = true});
  for (int i = 0; i < 3; ++i) at.forge(0, false, std::string(900, 'x'));
  REQUIRE_FALSE(at.core.drain(0).corrupt);
  CHECK(at.chunk()->partial.empty());
  at.forge(0, true, "end");
  CHECK(at.core.drain(0).outcomes == 1);
  at.core.deliver();
  CHECK_THROWS_AS(std::rethrow_exception(at.test.batch->errors[100]), SerializationError);
}

TEST_CASE("an error that takes back an oversized value is the outcome, not its size") {
  Claimed at;
  at.forge(0, false, std::string(900, 'x'));
  at.forge(0, false, std::string(900, 'x'));
  at.forge(0, true, "garbage", RecordKind::error);
  CHECK(at.core.drain(0).outcomes == 1);
  at.core.deliver();
  CHECK(at.test.batch->outcomes[100] != "");
  CHECK(at.test.batch->outcomes[100].find("max_result_size") == std::string::npos);
}

TEST_CASE("outcomes of an abandoned job go nowhere, and its chunk ends as usual") {
  Claimed at;
  at.test.job->abandoned = true;
  for (std::uint32_t item = 0; item < 4; ++item) at.core.put(0, at.claimed, item, "x");
  const auto drained = at.core.drain(0);
  CHECK(drained.outcomes == 4);
  CHECK(at.core.deliveries.empty());
  CHECK(at.chunk() == nullptr);
}

TEST_CASE("what an initializer threw comes through, in fragments too") {
  Claimed at;
  at.forge(RecordKind::failed_start, 0, 0, 0, false, "the ");
  at.forge(RecordKind::failed_start, 0, 0, 0, true, "reason");
  const auto drained = at.core.drain(0);
  REQUIRE(drained.failed_start);
  CHECK(std::string(reinterpret_cast<const char*>(drained.failed_start->data()),
                    drained.failed_start->size()) == "the reason");
  CHECK(drained.outcomes == 0);
  CHECK_FALSE(drained.corrupt);
}

TEST_CASE("what an initializer threw is bounded like a result") {
  Claimed at;
  at.forge(RecordKind::failed_start, 0, 0, 0, false, std::string(900, 'x'));
  at.forge(RecordKind::failed_start, 0, 0, 0, true, std::string(101, 'x'));
  CHECK(at.core.drain(0).corrupt);
}

TEST_CASE("an outcome ends the attempts of its item") {
  Claimed at;
  at.core.dispatcher.find(at.claimed.slot, at.claimed.ticket)->attempts = 3;
  at.core.put(0, at.claimed, 0, "a");
  at.core.drain(0);
  CHECK(at.chunk()->attempts == 0);
}

namespace {

/// A chunk whose results are two bytes each, in an open run of worker 0.
struct Running {
  Running() {
    core.enqueue(test, 4, 100);
    core.dispatcher.refill(0);
    claimed = core.claim(0);
    room = core.writers[0]->open_run(claimed.ticket, claimed.slot, 0, 2);
    std::memcpy(room.data(), "aabbccdd", 8);
  }
  /// Items before this one are complete.
  void begin(std::uint32_t item) { core.set_progress(0, claimed.ticket, item, ring::Phase::run); }

  TestCore core{4, 2};
  const TestJob test{testing::Script{.run_result_size = 2}};
  ring::TaskClaimer::Claimed claimed{};
  std::span<std::byte> room;
};

}  // namespace

TEST_CASE("results of an open run are taken as far as they are complete, each once") {
  Running at;
  CHECK(at.core.drain(0).outcomes == 0);
  at.begin(0);
  CHECK(at.core.drain(0).outcomes == 0);
  at.begin(2);
  CHECK(at.core.drain(0).outcomes == 2);
  CHECK(at.core.drain(0).outcomes == 0);
  at.begin(3);
  at.core.writers[0]->close_run(4, 2);
  const auto drained = at.core.drain(0);
  CHECK(drained.outcomes == 2);
  CHECK_FALSE(drained.corrupt);
  at.core.deliver();
  CHECK(at.test.batch->outcomes ==
        std::map<std::size_t, std::string>{{100, "=aa"}, {101, "=bb"}, {102, "=cc"}, {103, "=dd"}});
  CHECK_FALSE(at.test.batch->twice);
  CHECK(at.core.dispatcher.find(at.claimed.slot, at.claimed.ticket) == nullptr);
}

TEST_CASE("a run that no honest worker writes is corrupt") {
  const auto run = static_cast<std::uint8_t>(RecordKind::run);
  struct Forgery {
    std::uint32_t item;
    std::uint32_t bytes;
    std::uint32_t items;
  };
  for (const auto& [item, bytes, items] :
       {Forgery{1, 2, 1}, Forgery{0, 10, 5}, Forgery{0, 2, 2}, Forgery{5, 2, 1},
        Forgery{0, 2, UINT32_MAX}, Forgery{UINT32_MAX, 2, 2}}) {
    Running at;
    at.core.lanes[0].forge(
        0, {0, run, 1, 0, at.claimed.ticket, at.claimed.slot, item, bytes, items}, "aabbccddee");
    CHECK(at.core.drain(0).corrupt);
  }
  Running other;
  other.core.lanes[1].forge(0, {0, run, 1, 0, other.claimed.ticket, other.claimed.slot, 0, 2, 1},
                            "aa");
  CHECK(other.core.drain(1).disowned);
}

TEST_CASE("a run of results that have no fixed size is corrupt") {
  TestCore core{4, 2};
  const TestJob test;
  core.enqueue(test, 4, 100);
  core.dispatcher.refill(0);
  const auto claimed = core.claim(0);
  core.lanes[0].forge(
      0,
      {0, static_cast<std::uint8_t>(RecordKind::run), 1, 0, claimed.ticket, claimed.slot, 0, 2, 1},
      "aa");
  CHECK(core.drain(0).corrupt);
}
