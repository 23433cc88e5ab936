/// Facts about the result ring over a plain buffer: records of every size, fragments, publication,
/// and the refusal of everything that no honest worker writes.
#include <libpool/ring/result_ring.hpp>

#include <doctest/doctest.h>

#include <random>
#include <thread>

#include <tests/support/eventually.hpp>
#include <tests/support/lane.hpp>

using namespace libpool::ring;
using libpool::testing::eventually;
using libpool::testing::Lane;
using libpool::testing::Outcome;
using libpool::testing::pattern;
using libpool::testing::take;
using Look = ResultReader::Look;

namespace {

constexpr std::size_t ring_size = 4096;

/// One valid record of 100 bytes at `position`, whose header a test then changes.
struct Forged {
  explicit Forged(std::uint64_t begin = 0) : position(begin) {
    auto writer = lane.make_writer();
    Outcome partial;
    const auto filler = pattern(32, 1);
    for (std::uint64_t at = 0; at < position; at += 64) {
      lane.put(writer, RecordKind::value, 1, 2, 3, filler);
      REQUIRE(take(reader, partial));
    }
    lane.put(writer, RecordKind::value, 7, 8, 9, pattern(100, 2));
    std::memcpy(&header, place(), sizeof header);
  }
  [[nodiscard]] std::byte* place() const { return lane.ring().data() + position % ring_size; }
  [[nodiscard]] Look look(const RecordHeader& forged) {
    std::memcpy(place(), &forged, sizeof forged);
    REQUIRE(reader.refresh());
    RecordHeader seen{};
    std::span<const std::byte> payload;
    return reader.look(seen, payload);
  }

  std::uint64_t position;
  Lane lane{ring_size};
  ResultReader reader = lane.make_reader();
  RecordHeader header{};
};

}  // namespace

TEST_CASE("an outcome comes out as it went in") {
  Lane lane(ring_size);
  auto writer = lane.make_writer();
  auto reader = lane.make_reader();
  Outcome partial;
  CHECK_FALSE(take(reader, partial));
  const auto bytes = pattern(77, 3);
  lane.put(writer, RecordKind::error, std::uint64_t{1} << 47, 1u << 19, (1u << 20) - 1, bytes);
  const auto outcome = take(reader, partial);
  REQUIRE(outcome);
  CHECK(outcome->bytes == bytes);
  CHECK(outcome->header.kind == static_cast<std::uint8_t>(RecordKind::error));
  CHECK(outcome->header.ticket == std::uint64_t{1} << 47);
  CHECK(outcome->header.slot == 1u << 19);
  CHECK(outcome->header.item == (1u << 20) - 1);
  CHECK_FALSE(take(reader, partial));
  CHECK(lane.header.head == lane.header.tail);
}

TEST_CASE("small records come out whole at every offset of the ring") {
  for (std::size_t size = 0; size <= 130; ++size) {
    Lane lane(ring_size);
    auto writer = lane.make_writer();
    auto reader = lane.make_reader();
    Outcome partial;
    for (std::uint32_t item = 0; item < 2 * ring_size / 32; ++item) {
      const auto bytes = pattern(size, item);
      lane.put(writer, RecordKind::value, 1, 0, item, bytes);
      const auto outcome = take(reader, partial);
      REQUIRE(outcome);
      REQUIRE(outcome->bytes == bytes);
      REQUIRE(outcome->header.item == item);
    }
  }
}

TEST_CASE("several records wait in the ring and come out in order") {
  Lane lane(ring_size);
  auto writer = lane.make_writer();
  auto reader = lane.make_reader();
  Outcome partial;
  std::uint32_t item = 0;
  for (int lap = 0; lap < 50; ++lap) {
    const std::uint32_t first = item;
    for (int i = 0; i < 20; ++i, ++item) {
      lane.put(writer, RecordKind::value, 1, 0, item, pattern(item % 120, item));
    }
    for (std::uint32_t expected = first; expected < item; ++expected) {
      const auto outcome = take(reader, partial);
      REQUIRE(outcome);
      REQUIRE(outcome->header.item == expected);
      REQUIRE(outcome->bytes == pattern(expected % 120, expected));
    }
  }
}

TEST_CASE("records of every size up to twice the ring's pass it, with a reader that makes room") {
  constexpr std::size_t largest = 2 * ring_size + 64;
  Lane lane(ring_size);
  std::atomic<std::size_t> wrong{0};
  std::atomic<std::size_t> fragmented{0};
  std::jthread consumer([&] {
    auto reader = lane.make_reader();
    Outcome partial;
    std::size_t size = 0;
    const bool all = eventually(
        [&] {
          for (auto one = take(reader, partial); one; one = take(reader, partial), ++size) {
            if (one->bytes != pattern(size, size) || one->header.item != size) ++wrong;
            if (one->fragments > 1) ++fragmented;
          }
          std::this_thread::yield();
          return size > largest;
        },
        std::chrono::seconds(100));
    if (!all) ++wrong;
  });
  auto writer = lane.make_writer();
  for (std::size_t size = 0; size <= largest && wrong == 0; ++size) {
    lane.put(writer, RecordKind::value, 1, 0, static_cast<std::uint32_t>(size),
             pattern(size, size));
  }
  consumer.join();
  CHECK(wrong == 0);
  CHECK(fragmented >= largest - ring_size);
}

TEST_CASE("a value written in many small pieces comes out as one") {
  Lane lane(ring_size);
  const auto bytes = pattern(3 * ring_size + 17, 5);
  std::jthread producer([&] {
    auto writer = lane.make_writer();
    writer.begin(RecordKind::value, 1, 0, 0);
    for (std::size_t at = 0; at < bytes.size(); at += 7) {
      CHECK(writer.position() == at);
      writer.write(bytes.data() + at, std::min<std::size_t>(7, bytes.size() - at));
    }
    writer.align(16);
    writer.publish();
  });
  auto reader = lane.make_reader();
  Outcome partial;
  std::optional<Outcome> outcome;
  REQUIRE(eventually([&] { return (outcome = take(reader, partial)).has_value(); }));
  CHECK(outcome->bytes.size() == (bytes.size() + 15) / 16 * 16);
  outcome->bytes.resize(bytes.size());
  CHECK(outcome->bytes == bytes);
}

TEST_CASE("nothing of a record is seen before it is published, and one begun anew is void") {
  Lane lane(ring_size);
  auto writer = lane.make_writer();
  auto reader = lane.make_reader();
  Outcome partial;
  const auto bytes = pattern(500, 1);
  writer.begin(RecordKind::value, 1, 0, 0);
  writer.write(bytes.data(), bytes.size());
  CHECK_FALSE(take(reader, partial));
  writer.begin(RecordKind::error, 1, 0, 0);
  writer.write(bytes.data(), 10);
  CHECK_FALSE(take(reader, partial));
  writer.publish();
  const auto outcome = take(reader, partial);
  REQUIRE(outcome);
  CHECK(outcome->bytes == pattern(10, 1));
  CHECK(outcome->header.kind == static_cast<std::uint8_t>(RecordKind::error));
  CHECK_FALSE(take(reader, partial));
}

TEST_CASE("a worker without room sleeps until room is given back") {
  Lane lane(ring_size);
  std::jthread producer([&] {
    auto writer = lane.make_writer();
    lane.put(writer, RecordKind::value, 1, 0, 0, pattern(3 * ring_size, 1));
  });
  auto reader = lane.make_reader();
  Outcome partial;
  std::optional<Outcome> outcome;
  int sleeps = 0;
  while (!outcome) {
    if (eventually([&] { return lane.header.park.state() == ParkWord::State::blocked; },
                   std::chrono::milliseconds(200))) {
      ++sleeps;
    }
    outcome = take(reader, partial);
  }
  CHECK(sleeps >= 2);
  CHECK(outcome->bytes == pattern(3 * ring_size, 1));
}

TEST_CASE("an error takes back the fragments of a value before it") {
  Lane lane(ring_size);
  std::jthread producer([&] {
    auto writer = lane.make_writer();
    const auto value = pattern(2 * ring_size, 1);
    writer.begin(RecordKind::value, 1, 0, 0);
    writer.write(value.data(), value.size());
    lane.put(writer, RecordKind::error, 1, 0, 0, pattern(33, 2));
  });
  auto reader = lane.make_reader();
  Outcome partial;
  std::optional<Outcome> outcome;
  REQUIRE(eventually([&] { return (outcome = take(reader, partial)).has_value(); }));
  CHECK(outcome->header.kind == static_cast<std::uint8_t>(RecordKind::error));
  CHECK(outcome->bytes == pattern(33, 2));
}

TEST_CASE("an honest record is accepted, at the ring's start and at its end") {
  for (const std::uint64_t position : {0u, 64u, 3904u, 8000u}) {
    Forged forged(position);
    CHECK(forged.look(forged.header) == Look::record);
  }
}

TEST_CASE("a header with one wrong field is corrupt") {
  for (const std::uint64_t position : {0u, 64u, 3904u, 8000u}) {
    Forged forged(position);
    const RecordHeader good = forged.header;
    const auto with = [&good](auto change) {
      RecordHeader bad = good;
      change(bad);
      return bad;
    };
    CHECK(forged.look(with([](auto& h) { h.mark ^= 1; })) == Look::corrupt);
    CHECK(forged.look(with([](auto& h) { h.mark = 0; })) == Look::corrupt);
    for (unsigned kind = 0; kind < 256; ++kind) {
      const bool known = kind >= 1 && kind <= 4;
      CHECK(forged.look(with([kind](auto& h) { h.kind = static_cast<std::uint8_t>(kind); })) ==
            (known ? Look::record : Look::corrupt));
    }
    CHECK(forged.look(with([](auto& h) { h.last = 2; })) == Look::corrupt);
    CHECK(forged.look(with([](auto& h) { h.last = 255; })) == Look::corrupt);
    CHECK(forged.look(with([](auto& h) { h.zero = 1; })) == Look::corrupt);
    // 100 bytes were published, padded to 128.
    CHECK(forged.look(with([](auto& h) { h.bytes = 128; })) == Look::record);
    CHECK(forged.look(with([](auto& h) { h.bytes = 129; })) == Look::corrupt);
    CHECK(forged.look(with([](auto& h) { h.bytes = ring_size; })) == Look::corrupt);
    CHECK(forged.look(with([](auto& h) { h.bytes = UINT32_MAX; })) == Look::corrupt);
    CHECK(forged.look(with([](auto& h) { h.bytes = UINT32_MAX - 31; })) == Look::corrupt);
    CHECK(forged.look(good) == Look::record);
  }
}

TEST_CASE("a record that would run over the ring's end is corrupt") {
  Forged forged(3904);
  forged.lane.header.tail = 3904 + 512;
  RecordHeader header = forged.header;
  header.bytes = ring_size - 3904 - sizeof header;
  CHECK(forged.look(header) == Look::record);
  ++header.bytes;
  CHECK(forged.look(header) == Look::corrupt);
}

TEST_CASE("a record of an earlier lap is not taken for a new one") {
  Forged forged(ring_size);
  Outcome partial;
  REQUIRE(take(forged.reader, partial));
  forged.lane.header.tail += 64;
  REQUIRE(forged.reader.refresh());
  RecordHeader header{};
  std::span<const std::byte> payload;
  CHECK(forged.reader.look(header, payload) == Look::corrupt);
}

TEST_CASE("an impossible tail is refused and moves nothing") {
  Forged forged(8000);
  REQUIRE(forged.reader.refresh());
  const std::uint64_t head = 8000;
  const std::uint64_t tail = forged.lane.header.tail;
  REQUIRE(tail == head + 160);
  for (const std::uint64_t bad :
       {head + ring_size + 32, head + 2 * ring_size, UINT64_MAX - 31, tail + 1, tail + 31,
        tail - 32, head, head - 32, std::uint64_t{0}}) {
    forged.lane.header.tail = bad;
    CHECK_FALSE(forged.reader.refresh());
    CHECK(forged.reader.consumed() == head);
  }
  forged.lane.header.tail = head + ring_size;
  CHECK(forged.reader.refresh());
}

namespace {

/// A ring of four times `ring_size` bytes, of which it begins with one.
struct Growing {
  explicit Growing(bool memory_there = true)
      : reader(lane.make_reader([this, memory_there] {
          ++asked;
          return memory_there;
        })) {}

  /// Sends an outcome of so many bytes through the ring; returns its fragments.
  std::size_t pass(std::size_t size) { return pass(size, writer); }
  std::size_t pass(std::size_t size, ResultWriter& by) {
    const auto bytes = pattern(size, ++sent);
    std::jthread worker([&] { lane.put(by, RecordKind::value, 1, 0, 0, bytes); });
    std::optional<Outcome> outcome;
    Outcome partial;
    REQUIRE(eventually([&] { return (outcome = take(reader, partial)).has_value(); }));
    CHECK(outcome->bytes == bytes);
    return outcome->fragments;
  }

  int asked = 0;
  std::uint64_t sent = 0;
  Lane lane{4 * ring_size};
  ResultWriter writer = lane.make_writer();
  ResultReader reader;
};

/// Enough in fragments for the rest of the ring, which the writer has not seen yet.
constexpr std::size_t enough = 10 * ring_size;

}  // namespace

TEST_CASE("a ring grows once much has come in fragments, and stays small for small outcomes") {
  Growing ring;
  const std::size_t before = ring.pass(ring_size * 4);
  CHECK(before >= 16);  // of a quarter of the first part each
  CHECK(ring.asked == 0);
  ring.pass(enough);
  CHECK(ring.asked == 1);
  CHECK(ring.lane.header.granted == 1);
  CHECK(ring.lane.header.whole == 0);  // what is under way is not moved
  CHECK(ring.pass(ring_size * 4) <= before / 2);
  CHECK(ring.lane.header.whole == 1);
  CHECK(ring.pass(100) == 1);
  for (int small = 0; small < 100; ++small) {
    ring.pass(300);  // in two fragments where the ring ends
    CHECK(ring.lane.header.whole == 0);
  }
  CHECK(ring.asked == 1);
  ring.pass(enough);
  CHECK(ring.lane.header.whole == 0);  // that it is large is known at its end
  // One record of the whole ring, and four of the first part: so all are large.
  for (int middle = 0; middle < 5; ++middle) {
    ring.pass(ring_size - 100);
    CHECK(ring.lane.header.whole == 1);
  }
  ring.pass(enough);
  CHECK(ring.lane.header.whole == 1);
  CHECK(ring.asked == 1);
}

TEST_CASE("a ring grows for large outcomes only, whoever writes them in small pieces") {
  Growing small;
  for (int round = 0; round < 1000; ++round) small.pass(900);  // some in two fragments
  CHECK(small.asked == 0);
  Growing ring;
  const auto bytes = pattern(ring_size / 2, 3);
  Outcome partial;
  for (int round = 0; round < 60; ++round) {
    ring.writer.begin(RecordKind::value, 1, 0, 0);
    for (const std::byte byte : bytes) ring.writer.write(&byte, 1);
    ring.writer.publish();
    CHECK(take(ring.reader, partial)->bytes == bytes);
  }
  CHECK(ring.asked == 1);
  CHECK(ring.lane.header.whole == 1);
}

TEST_CASE("a ring whose size changes again and again keeps what is in it") {
  Growing ring;
  ring.pass(enough);
  std::mt19937_64 random(11);
  int wholes = 0;
  for (int round = 0; round < 2000; ++round) {
    ring.pass(random() % 2 == 0 ? random() % 300 : random() % (6 * ring_size));
    wholes += ring.lane.header.whole == 1 ? 1 : 0;
  }
  CHECK(wholes > 500);
  CHECK(wholes < 1500);
}

TEST_CASE("a ring that is not empty keeps its size") {
  Growing ring;
  ring.pass(enough);
  Outcome partial;
  ring.lane.put(ring.writer, RecordKind::value, 1, 0, 0, pattern(200, 1));
  CHECK(ring.lane.header.whole == 1);
  ring.lane.put(ring.writer, RecordKind::value, 1, 0, 1, pattern(200, 2));
  CHECK(ring.lane.header.whole == 1);
  CHECK(take(ring.reader, partial)->bytes == pattern(200, 1));
  CHECK(take(ring.reader, partial)->bytes == pattern(200, 2));
  ring.lane.put(ring.writer, RecordKind::value, 1, 0, 2, pattern(200, 3));
  CHECK(ring.lane.header.whole == 0);
  CHECK(take(ring.reader, partial)->bytes == pattern(200, 3));
}

TEST_CASE("memory that cannot be had is asked for once, and the ring stays as it is") {
  Growing ring(false);
  for (int round = 0; round < 4; ++round) ring.pass(enough);
  CHECK(ring.asked == 1);
  CHECK(ring.lane.header.granted == 0);
  CHECK(ring.lane.header.whole == 0);
}

TEST_CASE("a size that was not granted is corrupt, and so is one that there is not") {
  Growing ring;
  ring.lane.header.granted = 1;  // the worker's own idea
  ring.lane.header.whole = 1;
  CHECK_FALSE(ring.reader.refresh());
  ring.lane.header.granted = 0;
  ring.lane.header.whole = 0;
  CHECK(ring.reader.refresh());
  ring.pass(enough);
  ring.lane.header.whole = 1;
  CHECK(ring.reader.refresh());
  ring.lane.header.whole = 2;
  CHECK_FALSE(ring.reader.refresh());
}

TEST_CASE("the next owner of a lane begins with the first part and has the grant") {
  Growing ring;
  ring.pass(enough);
  ring.pass(enough);
  REQUIRE(ring.lane.header.whole == 1);
  ring.lane.header.granted = 0;  // a worker gone wild
  ring.reader.reset();
  CHECK(ring.lane.header.whole == 0);
  CHECK(ring.lane.header.granted == 1);
  auto next = ring.lane.make_writer();
  CHECK(ring.pass(ring_size * 4, next) >= 16);
  CHECK(ring.lane.header.whole == 0);
  ring.pass(ring_size * 4, next);
  CHECK(ring.lane.header.whole == 1);
}

TEST_CASE("whatever the ring holds, the reader stays inside of it and comes to an end") {
  std::mt19937_64 random(7);
  for (int round = 0; round < 3000; ++round) {
    // In two rings of three the first part is all there is; in one the worker says what it uses.
    Lane lane(round % 3 == 0 ? 4 * ring_size : ring_size);
    auto reader = lane.make_reader([] { return true; });
    for (int burst = 0; burst < 4; ++burst) {
      for (std::byte& byte : lane.ring()) byte = static_cast<std::byte>(random());
      // Headers that look right, so that the reader goes on, with sizes of any kind.
      for (std::uint64_t at = 0; at < lane.ring().size(); at += 32 * (1 + random() % 8)) {
        const std::uint64_t lap = random() % 2 == 0 ? ring_size : lane.ring().size();
        const std::uint64_t position = reader.consumed() / lap * lap + at;
        RecordHeader header{
            record_mark(position),
            static_cast<std::uint8_t>(random() % 5),
            static_cast<std::uint8_t>(random() % 2),
            0,
            random(),
            0,
            0,
            static_cast<std::uint32_t>(random() % 4 == 0 ? random() : random() % 300),
            static_cast<std::uint32_t>(random())};
        std::memcpy(lane.ring().data() + at, &header, sizeof header);
      }
      lane.header.tail = reader.consumed() + 32 * (random() % (ring_size / 32 + 2));
      if (round % 3 == 0) lane.header.whole = static_cast<std::uint32_t>(random() % 3);
      if (!reader.refresh()) continue;
      RecordHeader header{};
      std::span<const std::byte> payload;
      std::size_t records = 0;
      unsigned sum = 0;
      while (reader.look(header, payload) == Look::record) {
        REQUIRE(payload.data() >= lane.ring().data());
        REQUIRE(payload.data() + payload.size() <= lane.ring().data() + lane.ring().size());
        for (const std::byte byte : payload) sum += static_cast<unsigned>(byte);
        reader.pass(header);
        REQUIRE(++records <= ring_size / 32);
      }
      REQUIRE(reader.consumed() <= lane.header.tail);
      reader.give_back();
      REQUIRE(sum < UINT_MAX);
    }
  }
}

namespace {

/// A run of eight-byte results, whose step to an item is the progress word's.
struct OpenRun {
  explicit OpenRun(std::size_t before = 0) {
    Outcome partial;
    for (std::size_t at = 0; at < before; at += 64) {
      lane.put(writer, RecordKind::value, 1, 2, 3, pattern(32, 1));
      REQUIRE(take(reader, partial));
    }
    room = writer.open_run(7, 8, 10, sizeof(std::uint64_t));
  }
  /// The item begins; those before it are complete.
  void begin(std::uint32_t item) { lane.header.progress.enter({7, item, Phase::run}); }
  void put(std::uint32_t item, std::uint64_t result) {
    std::memcpy(room.data() + (item - 10) * sizeof result, &result, sizeof result);
  }
  std::optional<std::uint32_t> look_open() {
    REQUIRE(reader.refresh());
    return reader.look_open(header, payload);
  }

  Lane lane{ring_size};
  ResultWriter writer = lane.make_writer();
  ResultReader reader = lane.make_reader();
  std::span<std::byte> room;
  RecordHeader header{};
  std::span<const std::byte> payload;
};

}  // namespace

TEST_CASE("a result in an open run is there as soon as the next item begins, and not before") {
  OpenRun run;
  CHECK_FALSE(run.look_open());  // the progress word speaks of something else
  run.begin(10);
  CHECK(run.look_open() == 10);
  run.put(10, 4711);
  CHECK(run.look_open() == 10);
  run.begin(11);
  REQUIRE(run.look_open() == 11);
  CHECK(run.header.item == 10);
  CHECK(run.header.ticket == 7);
  CHECK(run.header.slot == 8);
  std::uint64_t result = 0;
  std::memcpy(&result, run.payload.data(), sizeof result);
  CHECK(result == 4711);
  RecordHeader none{};
  CHECK(run.reader.look(none, run.payload) == Look::empty);
}

TEST_CASE("a closed run is one record, and no more an open one") {
  OpenRun run;
  for (std::uint32_t item = 10; item < 13; ++item) {
    run.begin(item);
    run.put(item, item);
  }
  run.writer.close_run(3, sizeof(std::uint64_t));
  CHECK_FALSE(run.look_open());
  REQUIRE(run.reader.look(run.header, run.payload) == Look::record);
  CHECK(run.header.kind == static_cast<std::uint8_t>(RecordKind::run));
  CHECK(run.header.items == 3);
  CHECK(run.payload.size() == 24);
  run.reader.pass(run.header);
  CHECK_FALSE(run.look_open());
}

TEST_CASE("a progress word that is not of the open run says nothing about it") {
  for (const Progress progress :
       {Progress{6, 12, Phase::run}, Progress{7, 9, Phase::run}, Progress{7, 12, Phase::published},
        Progress{7, 12, Phase::idle}}) {
    OpenRun run;
    run.lane.header.progress.enter(progress);
    CHECK_FALSE(run.look_open());
  }
}

TEST_CASE("a run that does not fit before the ring's end begins behind it") {
  // 32 bytes are left of the ring: a header, and no result.
  OpenRun run(ring_size - 64);
  Outcome partial;
  run.writer.close_run(1, sizeof(std::uint64_t));
  run.room = run.writer.open_run(7, 8, 11, sizeof(std::uint64_t));
  run.writer.close_run(1, sizeof(std::uint64_t));
  std::uint32_t items = 0;
  while (const auto record = take(run.reader, partial)) items += record->header.items;
  CHECK(items == 2);
}

TEST_CASE("runs at every offset, of every length, keep their results") {
  Lane lane(ring_size);
  auto writer = lane.make_writer();
  auto reader = lane.make_reader();
  Outcome partial;
  std::uint64_t next = 0;
  std::uint64_t seen = 0;
  for (std::uint32_t length = 1; length < 130; ++length) {
    const auto room = writer.open_run(1, 0, 0, sizeof next);
    const auto items =
        static_cast<std::uint32_t>(std::min<std::size_t>(length, room.size() / sizeof next));
    REQUIRE(items != 0);
    for (std::uint32_t item = 0; item < items; ++item, ++next) {
      std::memcpy(room.data() + item * sizeof next, &next, sizeof next);
    }
    writer.close_run(items, sizeof next);
    while (const auto record = take(reader, partial)) {
      for (std::size_t at = 0; at < record->header.items * sizeof seen; at += sizeof seen, ++seen) {
        std::uint64_t result = 0;
        std::memcpy(&result, record->bytes.data() + at, sizeof result);
        REQUIRE(result == seen);
      }
    }
    REQUIRE(seen == next);
  }
}

TEST_CASE("a reset lane is as new, for the reader and for the next owner") {
  Forged forged(8000);
  Lane& lane = forged.lane;
  lane.header.progress.enter({5, 6, Phase::run});
  lane.header.park.announce(ParkWord::State::blocked);
  lane.header.started = 1;
  lane.header.busy = 2;
  forged.reader.reset();
  CHECK(lane.header.tail == 0);
  CHECK(lane.header.head == 0);
  CHECK(lane.header.progress.read() == Progress{});
  CHECK(lane.header.park.state() == ParkWord::State::running);
  CHECK(forged.reader.busy() == 0);
  CHECK(forged.reader.started() == 0);
  CHECK(forged.reader.consumed() == 0);
  auto writer = lane.make_writer();
  Outcome partial;
  CHECK_FALSE(take(forged.reader, partial));
  lane.put(writer, RecordKind::value, 1, 0, 0, pattern(64, 4));
  CHECK(take(forged.reader, partial)->bytes == pattern(64, 4));
}

TEST_CASE("a lane's clock tells when an item began and how long the worker was busy") {
  Lane lane;
  const auto reader = lane.make_reader();
  LaneClock clock(lane.header);
  const std::uint64_t before = LaneClock::now();
  clock.item_starts();
  clock.start();
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  clock.account();
  const std::uint64_t after = LaneClock::now();
  CHECK(reader.started() >= before);
  CHECK(reader.started() <= after);
  CHECK(reader.busy() >= 2'000'000);
  CHECK(reader.busy() <= after - before);
  const std::uint64_t busy = reader.busy();
  clock.start();
  clock.account();
  CHECK(reader.busy() >= busy);
  CHECK(reader.busy() - busy <= LaneClock::now() - after);
}
