/// The rings with threads in place of processes, for ThreadSanitizer: it reports a race wherever an
/// order is weaker than what one side reads of the other needs.
///
/// The main thread plays the parent, two threads play workers. What they hand over is checked too.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include <libpool/ring/result_ring.hpp>
#include <libpool/ring/task_ring.hpp>

using namespace libpool::ring;

namespace {

constexpr std::uint32_t workers = 2;
constexpr std::uint32_t slots = 8;
constexpr std::size_t ring_bytes = 16384;
constexpr std::uint32_t items = 200;  // of each chunk: more records than a ring holds
constexpr std::uint64_t chunks = 1000;
constexpr std::size_t large =
    700;  // numbers of a result that fills more than what a ring begins with

/// One worker's lane over plain memory.
struct Lane {
  LaneHeader header{};
  alignas(64) std::array<std::byte, ring_bytes> ring{};
};

struct Shared {
  std::array<TaskDescriptor, slots> descriptors{};
  std::array<ClaimWord, slots> claims{};
  ScanHint hint{};
  WaitingWord waiting{};  // the parent never sleeps here
  std::array<Lane, workers> lanes{};
  std::atomic<bool> over{false};
};

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "not true: %s\n", what);
  std::exit(2);
}

std::uint64_t result_of(std::uint64_t ticket, std::uint32_t item) { return ticket * items + item; }

void run_in_runs(Lane& lane, ResultWriter& writer, const TaskDescriptor& task, std::uint32_t slot) {
  for (std::uint32_t done = 0; done < items;) {
    const auto room = writer.open_run(task.ticket, slot, done, sizeof(std::uint64_t));
    const auto most = static_cast<std::uint32_t>(room.size() / sizeof(std::uint64_t));
    const std::uint32_t count = std::min(items - done, most);
    std::this_thread::yield();  // the reader may look at a run without results
    for (std::uint32_t item = 0; item < count; ++item) {
      lane.header.progress.enter({task.ticket, done + item, Phase::run});
      const std::uint64_t result = result_of(task.first_index, done + item);
      std::memcpy(room.data() + item * sizeof result, &result, sizeof result);
    }
    writer.close_run(count, sizeof(std::uint64_t));
    done += count;
  }
}

/// Odd chunks give their results in a run, even ones in a record each, of which some are large: so
/// the ring's size changes all the time.
void run_chunk(Lane& lane, ResultWriter& writer, const TaskDescriptor& task, std::uint32_t slot) {
  const std::uint64_t ticket = task.ticket;
  if (ticket % 2 == 1) return run_in_runs(lane, writer, task, slot);
  for (std::uint32_t item = 0; item < items; ++item) {
    lane.header.progress.enter({ticket, item, Phase::encode});
    writer.begin(RecordKind::value, ticket, slot, item);
    const std::uint64_t result = result_of(task.first_index, item);
    for (std::size_t i = 0; i < (item % 16 < 2 ? large : 1); ++i) {
      writer.write(&result, sizeof result);
    }
    writer.publish();
  }
}

void work(Shared& shared, std::uint32_t worker) {
  Lane& lane = shared.lanes[worker];
  ResultWriter writer(lane.header, lane.ring, Doorbell(shared.waiting, -1));
  TaskClaimer claimer(shared.descriptors, shared.claims, shared.hint, worker);
  while (!shared.over.load()) {
    if (const auto claimed = claimer.claim()) {
      run_chunk(lane, writer, claimer.descriptor(claimed->slot), claimed->slot);
    }
  }
}

/// The parent's books on one slot.
struct Book {
  std::uint64_t ticket = 0;
  std::uint32_t settled = 0;
};

class Parent {
 public:
  explicit Parent(Shared& shared) : shared_(shared), publisher_(shared.descriptors, shared.claims) {
    for (Lane& lane : shared.lanes) {
      readers_.emplace_back(lane.header, lane.ring, [] { return true; });
    }
  }

  void run() {
    while (ended_ < chunks) {
      refill();
      for (ResultReader& reader : readers_) drain(reader);
    }
  }

 private:
  void refill() {
    while (published_ < chunks) {
      const auto slot = publisher_.reserve();
      if (!slot) return;
      TaskDescriptor& task = publisher_.descriptor(*slot);
      task.ticket = task.first_index = ++published_;
      books_[*slot] = {task.ticket, 0};
      publisher_.publish(*slot, task.ticket);
    }
  }

  void drain(ResultReader& reader) {
    require(reader.refresh(), "the tail is possible");
    RecordHeader header{};
    std::span<const std::byte> payload;
    while (reader.look(header, payload) == ResultReader::Look::record) {
      const bool run = header.kind == static_cast<std::uint8_t>(RecordKind::run);
      // At the ring's end a result may begin with a fragment that has no room for any of it.
      if (header.last == 1)
        take(header, run ? header.items : 1, payload);
      else
        look_through(header, payload);
      reader.pass(header);
      end_if_settled(header.slot);
    }
    if (const auto item = reader.look_open(header, payload)) {
      take(header, *item - header.item, payload);
    }
    reader.give_back();
  }

  void take(const RecordHeader& header, std::uint32_t count, std::span<const std::byte> payload) {
    Book& book = books_[header.slot];
    if (count == 0) return;
    require(book.ticket == header.ticket, "a record is of the chunk in its slot");
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t item = header.item + i;
      if (item < book.settled) continue;
      require(item == book.settled, "items come in order");
      std::uint64_t result = 0;
      std::memcpy(&result, payload.data() + i * sizeof result, sizeof result);
      require(result == result_of(book.ticket, item), "a result is what its item gives");
      ++book.settled;
    }
  }

  /// A fragment of a large result repeats one number.
  static void look_through(const RecordHeader& header, std::span<const std::byte> payload) {
    for (std::size_t at = 0; at < payload.size(); at += sizeof(std::uint64_t)) {
      std::uint64_t result = 0;
      std::memcpy(&result, payload.data() + at, sizeof result);
      require(result == result_of(header.ticket, header.item), "a fragment is of its item");
    }
  }

  void end_if_settled(std::uint32_t slot) {
    Book& book = books_[slot];
    if (book.settled != items) return;
    publisher_.release(slot);
    book = {};
    ++ended_;
  }

  Shared& shared_;
  TaskPublisher publisher_;
  std::vector<ResultReader> readers_;
  std::array<Book, slots> books_{};
  std::uint64_t published_ = 0;
  std::uint64_t ended_ = 0;
};

}  // namespace

int main() {
  const auto shared = std::make_unique<Shared>();
  std::vector<std::thread> threads;
  for (std::uint32_t worker = 0; worker < workers; ++worker) {
    threads.emplace_back([&shared, worker] { work(*shared, worker); });
  }
  Parent(*shared).run();
  shared->over = true;
  for (std::thread& thread : threads) thread.join();
  std::puts("all results came, each once");
}
