/// Facts about the task runner: which items it takes, what the progress word says at each step, and
/// which records it leaves.
#include <worker/task_runner.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <unistd.h>

#include <functional>
#include <thread>
#include <vector>

#include <libpool/detail/file_descriptor.hpp>
#include <libpool/this_worker.hpp>
#include <tests/support/eventually.hpp>
#include <tests/support/lane.hpp>

using namespace libpool;
using ring::Phase;
using ring::Progress;
using ring::RecordKind;
using testing::Lane;
using worker::TaskRunner;

namespace {

constexpr std::uint64_t ticket = 12;
constexpr std::uint32_t slot = 3;

using Body = std::function<void(detail::ChunkContext&)>;
Body body;

/// What the descriptor's token names.
void run_body(detail::ChunkContext& context) { body(context); }

const codec::ModuleMap& modules() {
  static const codec::ModuleMap map = codec::ModuleMap::current();
  return map;
}

/// A worker's place and a claimed chunk with the items "i0", "i1", ...
struct Claimed {
  explicit Claimed(std::uint32_t items, bool stride = false)
      : place{lane.header, writer, stop, modules(), UINT64_MAX} {
    const auto runner = modules().token_of(reinterpret_cast<const void*>(&run_body));
    append({reinterpret_cast<const char*>(&runner), sizeof runner}, 1);
    append("the callable", 16);
    task.call_size = payload.size();
    for (std::uint32_t item = 0; item < items; ++item) {
      const std::string text = "i" + std::to_string(item);
      const std::uint64_t size = text.size();
      if (!stride) append({reinterpret_cast<const char*>(&size), sizeof size}, 8);
      append(text, stride ? 2 : 8);
    }
    task.ticket = ticket;
    task.first_index = 500;
    task.end_item = items;
    task.item_stride = stride ? 2 : 0;
    task.items_offset = task.call_size;
  }
  void append(const std::string& text, std::size_t unit) {
    const auto bytes = std::as_bytes(std::span(text));
    payload.insert(payload.end(), bytes.begin(), bytes.end());
    payload.resize((payload.size() + unit - 1) / unit * unit);
  }
  std::uint32_t run(Body what) {
    task.items_size = payload.size() - task.items_offset;
    body = std::move(what);
    TaskRunner runner(place, task, slot);
    runner.run(payload);
    return runner.next_item();
  }
  [[nodiscard]] Progress progress() const { return lane.header.progress.read(); }
  std::vector<testing::Outcome> outcomes() {
    std::vector<testing::Outcome> all;
    testing::Outcome partial;
    while (auto one = take(reader, partial)) all.push_back(std::move(*one));
    return all;
  }

  Lane lane;
  ring::ResultWriter writer = lane.make_writer();
  ring::ResultReader reader = lane.make_reader();
  ring::StopWord stop{};
  worker::Workplace place;
  ring::TaskDescriptor task{};
  std::vector<std::byte> payload;
};

std::string text(codec::PayloadReader reader) {
  const auto bytes = reader.take(reader.remaining());
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string text(const testing::Outcome& outcome) {
  return {reinterpret_cast<const char*>(outcome.bytes.data()), outcome.bytes.size()};
}

/// The runner's shape, with the item's text as its result.
void echo(detail::ChunkContext& context) {
  while (context.next()) {
    const std::string item = text(context.item());
    context.begin_run();
    context.result().write(item.data(), item.size());
    context.publish();
  }
}

}  // namespace

TEST_CASE("items come in order, whole, with either format, and leave a record each") {
  for (const bool stride : {false, true}) {
    Claimed at(5, stride);
    CHECK(at.run([](detail::ChunkContext& context) {
      CHECK(text(context.call()).starts_with("the callable"));
      echo(context);
    }) == 5);
    const auto outcomes = at.outcomes();
    REQUIRE(outcomes.size() == 5);
    for (std::uint32_t item = 0; item < 5; ++item) {
      CHECK(text(outcomes[item]) == "i" + std::to_string(item));
      CHECK(outcomes[item].header.kind == static_cast<std::uint8_t>(RecordKind::value));
      CHECK(outcomes[item].header.ticket == ticket);
      CHECK(outcomes[item].header.slot == slot);
      CHECK(outcomes[item].header.item == item);
    }
    CHECK(at.progress() == Progress{ticket, 4, Phase::published});
  }
}

TEST_CASE("a chunk that ran in part before goes on where it is told to, and ends there") {
  for (const bool stride : {false, true}) {
    Claimed at(6, stride);
    at.task.begin_item = 2;
    at.task.end_item = 4;
    CHECK(at.run(echo) == 4);
    const auto outcomes = at.outcomes();
    REQUIRE(outcomes.size() == 2);
    CHECK(text(outcomes[0]) == "i2");
    CHECK(text(outcomes[1]) == "i3");
    CHECK(outcomes[0].header.item == 2);
  }
}

TEST_CASE("the callable is decoded on the account of the first item") {
  Claimed at(4);
  at.task.begin_item = 2;
  at.run(
      [&](detail::ChunkContext&) { CHECK(at.progress() == Progress{ticket, 2, Phase::decode}); });
  CHECK(at.outcomes().empty());
}

TEST_CASE("the progress word names each phase before it begins") {
  Claimed at(2);
  at.run([&](detail::ChunkContext& context) {
    for (std::uint32_t item = 0; item < 2; ++item) {
      REQUIRE(context.next());
      CHECK(at.progress() == Progress{ticket, item, Phase::decode});
      CHECK(this_worker::task_index() == 500 + item);
      context.begin_run();
      CHECK(at.progress() == Progress{ticket, item, Phase::run});
      context.result().write("x", 1);
      CHECK(at.progress() == Progress{ticket, item, Phase::encode});
      CHECK(at.outcomes().empty());
      context.publish();
      CHECK(at.progress() == Progress{ticket, item, Phase::published});
      CHECK(at.outcomes().size() == 1);
    }
    CHECK_FALSE(context.next());
    CHECK(at.progress() == Progress{ticket, 1, Phase::published});
  });
}

TEST_CASE("a failure takes back the result that was begun, and the next item runs") {
  Claimed at(2);
  at.run([](detail::ChunkContext& context) {
    REQUIRE(context.next());
    context.result().write("half a res", 10);
    context.fail(std::make_exception_ptr(std::runtime_error("oops")));
    echo(context);
  });
  const auto outcomes = at.outcomes();
  REQUIRE(outcomes.size() == 2);
  CHECK(outcomes[0].header.kind == static_cast<std::uint8_t>(RecordKind::error));
  CHECK(text(outcomes[0]).find("half") == std::string::npos);
  CHECK(text(outcomes[0]).find("oops") != std::string::npos);
  CHECK(text(outcomes[1]) == "i1");
}

TEST_CASE("a callable that cannot be read fails every item that is left, with its index") {
  Claimed at(4);
  at.task.begin_item = 1;
  CHECK(at.run([](detail::ChunkContext& context) {
    context.fail_all(std::make_exception_ptr(std::runtime_error("no callable")));
  }) == 4);
  const auto outcomes = at.outcomes();
  REQUIRE(outcomes.size() == 3);
  for (std::uint32_t item = 0; item < 3; ++item) {
    CHECK(outcomes[item].header.item == item + 1);
    CHECK(outcomes[item].header.kind == static_cast<std::uint8_t>(RecordKind::error));
  }
}

TEST_CASE("a function that no module has fails every item") {
  Claimed at(2);
  std::memset(at.payload.data(), 0xFF, sizeof(codec::FunctionToken));
  at.run([](detail::ChunkContext&) { FAIL("ran"); });
  CHECK(at.outcomes().size() == 2);
}

TEST_CASE("a worker that has to retire begins no more items than it may") {
  Claimed at(5);
  at.place.tasks_left = 3;
  CHECK(at.run(echo) == 3);
  CHECK(at.outcomes().size() == 3);
  CHECK(at.place.tasks_left == 0);
  at.place.tasks_left = 2;
  CHECK(at.run([](detail::ChunkContext& context) {
    context.fail_all(std::make_exception_ptr(std::runtime_error("no")));
  }) == 2);
}

TEST_CASE("time on a chunk counts as busy, and items of timed chunks say when they began") {
  Claimed at(2);
  at.task.timed = 1;
  const std::uint64_t before = ring::LaneClock::now();
  at.run([&](detail::ChunkContext& context) {
    REQUIRE(context.next());
    CHECK(at.reader.started() >= before);
    const std::uint64_t first = at.reader.started();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    (void)context.result();
    context.publish();
    REQUIRE(context.next());
    CHECK(at.reader.started() >= first + 2'000'000);
    (void)context.result();
    context.publish();
  });
  CHECK(at.reader.busy() >= 2'000'000);
}

TEST_CASE("a stopped worker begins nothing until the stop is taken back") {
  Claimed at(1);
  at.task.timed = 1;
  at.stop.request();
  std::atomic<bool> began{false};
  std::jthread worker([&] {
    at.run([&](detail::ChunkContext& context) {
      REQUIRE(context.next());
      began = true;
      (void)context.result();
      context.publish();
    });
  });
  auto& park = at.lane.header.park;
  REQUIRE(testing::eventually([&] { return park.state() == ring::ParkWord::State::blocked; }));
  CHECK(at.progress() == Progress{ticket, 0, Phase::decode});
  CHECK_FALSE(began);
  // A wake that brings no end of the stop changes nothing.
  park.wake(ring::ParkWord::State::blocked);
  REQUIRE(testing::eventually([&] { return park.state() == ring::ParkWord::State::blocked; }));
  CHECK_FALSE(began);
  at.stop.take_back();
  park.wake(ring::ParkWord::State::blocked);
  worker.join();
  CHECK(began);
}

namespace {

/// The runner's shape for runs: the item's two characters, reversed; "i3" throws.
void reverse_in_runs(detail::ChunkContext& context) {
  REQUIRE(context.in_runs());
  auto in = context.items();
  std::uint32_t done = 0;
  while (true) {
    const auto run = context.next_run(done, 2);
    if (run.items == 0) return;
    for (done = 0; done != run.items; ++done) {
      if (context.bundled() && !context.take()) break;
      context.begin_in_run(run.item + done);
      char item[2];
      in.read(item, sizeof item);
      if (item[1] == '3') {
        context.fail_in_run(done, std::make_exception_ptr(std::runtime_error("three")));
        done = 0;
        break;
      }
      std::swap(item[0], item[1]);
      std::memcpy(run.results + 2 * done, item, sizeof item);
    }
  }
}

}  // namespace

TEST_CASE("results of one size share a record, and a failure comes between two") {
  Claimed at(6, true);
  CHECK(at.run(reverse_in_runs) == 6);
  const auto outcomes = at.outcomes();
  REQUIRE(outcomes.size() == 3);
  CHECK(text(outcomes[0]) == "0i1i2i");
  CHECK(outcomes[0].header.item == 0);
  CHECK(outcomes[0].header.items == 3);
  CHECK(outcomes[1].header.kind == static_cast<std::uint8_t>(RecordKind::error));
  CHECK(outcomes[1].header.item == 3);
  CHECK(text(outcomes[2]) == "4i5i");
  CHECK(outcomes[2].header.item == 4);
  CHECK(at.progress() == Progress{ticket, 5, Phase::published});
}

TEST_CASE("a run names each of its items, and tells the task its index") {
  Claimed at(3, true);
  at.run([&](detail::ChunkContext& context) {
    const auto run = context.next_run(0, 2);
    CHECK(run.items == 3);
    for (std::uint32_t item = 0; item < 3; ++item) {
      context.begin_in_run(run.item + item);
      CHECK(at.progress() == Progress{ticket, item, Phase::run});
      CHECK(this_worker::task_index() == 500 + item);
    }
    (void)context.next_run(3, 2);
  });
}

TEST_CASE("a run begins no more items than the worker may") {
  Claimed at(6, true);
  at.place.tasks_left = 2;
  CHECK(at.run(reverse_in_runs) == 2);
  const auto outcomes = at.outcomes();
  REQUIRE(outcomes.size() == 1);
  CHECK(outcomes[0].header.items == 2);
}

TEST_CASE("chunks with deadlines have no runs") {
  Claimed at(1, true);
  at.task.timed = 1;
  at.run([](detail::ChunkContext& context) {
    CHECK_FALSE(context.in_runs());
    echo(context);
  });
}

TEST_CASE("the items of a bundle are taken out of the word of the lane") {
  Claimed at(6, true);
  at.task.bundled = 1;
  at.task.begin_item = 1;
  CHECK(at.run(reverse_in_runs) == 6);
  CHECK(at.outcomes().size() == 3);
  CHECK_FALSE(at.lane.header.remainder.read().open());
}

TEST_CASE("a worker leaves a bundle whose rest was taken back, before the next item") {
  Claimed at(6, true);
  at.task.bundled = 1;
  CHECK(at.run([&](detail::ChunkContext& context) {
    CHECK(context.bundled());
    // The first item is the worker's already.
    CHECK(at.lane.header.remainder.read() == ring::Remainder{ticket, 6, 1});
    const auto run = context.next_run(0, 2);
    for (std::uint32_t item = 0; item < 2; ++item) {
      REQUIRE(context.take());
      context.begin_in_run(item);
      std::memcpy(run.results + std::size_t{2} * item, "ab", 2);
    }
    CHECK(at.lane.header.remainder.take_back(ticket, 0, 6) == 2);
    CHECK_FALSE(context.take());
    CHECK(context.next_run(2, 2).items == 0);
  }) == 2);
  const auto outcomes = at.outcomes();
  REQUIRE(outcomes.size() == 1);
  CHECK(text(outcomes[0]) == "abab");
  CHECK(at.progress() == Progress{ticket, 1, Phase::published});
}

TEST_CASE("a bundle that is taken back after an item that failed leaves a run without items") {
  Claimed at(4, true);
  at.task.bundled = 1;
  CHECK(at.run([&](detail::ChunkContext& context) {
    (void)context.next_run(0, 2);
    REQUIRE(context.take());
    context.begin_in_run(0);
    context.fail_in_run(0, std::make_exception_ptr(std::runtime_error("no")));
    CHECK(at.lane.header.remainder.take_back(ticket, 1, 4) == 1);
    CHECK(context.next_run(0, 2).items == 3);
    CHECK_FALSE(context.take());
    CHECK(context.next_run(0, 2).items == 0);
  }) == 1);
  const auto outcomes = at.outcomes();
  REQUIRE(outcomes.size() == 3);
  CHECK(outcomes[2].header.items == 0);
  CHECK(at.progress() == Progress{ticket, 0, Phase::published});
}

TEST_CASE("a callable that cannot be decoded fails the items that were not taken back") {
  const auto fail = [](detail::ChunkContext& context) {
    context.fail_all(std::make_exception_ptr(std::runtime_error("no")));
  };
  Claimed at(4, true);
  at.task.bundled = 1;
  CHECK(at.run([&](detail::ChunkContext& context) {
    CHECK(at.lane.header.remainder.take_back(ticket, 1, 4) == 1);
    fail(context);
  }) == 1);
  CHECK(at.outcomes().size() == 1);
  Claimed whole(4, true);
  whole.task.bundled = 1;
  CHECK(whole.run(fail) == 4);
  CHECK(whole.outcomes().size() == 4);
}

TEST_CASE("a parent that sleeps hears of a bundle that is claimed, and not of other chunks") {
  Claimed at(4, true);
  int ends[2];
  REQUIRE(::pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
  const detail::FileDescriptor heard(ends[0]);
  const detail::FileDescriptor doorbell(ends[1]);
  ring::ResultWriter writer(at.lane.header, at.lane.ring(),
                            ring::Doorbell(at.lane.waiting, doorbell.get()));
  worker::Workplace place{at.lane.header, writer, at.stop, modules(), UINT64_MAX};
  at.lane.waiting.announce();
  char byte = 0;
  const TaskRunner chunk(place, at.task, slot);
  CHECK(::read(heard.get(), &byte, 1) == -1);
  at.task.bundled = 1;
  const TaskRunner bundle(place, at.task, slot);
  CHECK(::read(heard.get(), &byte, 1) == 1);
}
