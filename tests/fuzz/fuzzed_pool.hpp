/// The parent's side of a pool over plain memory, without processes: workers that keep the protocol
/// step by step, as the script lets them, and the oracle that counts what they start.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <libpool/supervise/supervisor.hpp>
#include <tests/fuzz/fake_server.hpp>
#include <tests/support/core_parts.hpp>

namespace libpool::fuzz {

class FuzzedPool {
 public:
  using Clock = supervise::Supervisor::Clock;
  static constexpr std::uint32_t workers = 3;
  static constexpr std::uint32_t slots = 4;
  static constexpr std::size_t retries = 1;

  FuzzedPool()
      : core(slots, workers, 200),
        stops(workers),
        supervisor(start_server(), core.readers, stops, core.dispatcher, core.collector,
                   {1'000'000, std::chrono::hours(1), std::chrono::milliseconds(1)}) {
    supervisor.start();
    start_wanted();
  }
  ~FuzzedPool() {
    supervisor.kill_all();
    supervisor.shut_down();
  }

  void enqueue(std::uint32_t job, std::uint32_t items) {
    if (jobs[job].job->abandoned) return;
    core.enqueue(jobs[job], items, next_index_[job]);
    next_index_[job] += items;
  }

  /// A round of the engine.
  void round(bool thorough) {
    supervisor.pump(now_ += std::chrono::milliseconds(300), thorough, core.deliveries);
    core.dispatcher.refill(nanoseconds());
    deliver();
    core.dispatcher.retire_settled();
    (void)core.dispatcher.take_spent();
  }

  /// Forks what was asked for, and reports it.
  void start_wanted() {
    for (const auto& [worker, generation] : fake.wanted) {
      if (alive_[worker]) continue;
      alive_[worker] = true;
      fake.killed.erase(worker);
      generations_[worker] = generation;
      holds_[worker].reset();
      fake.report({.kind = Report::Kind::spawned,
                   .worker = worker,
                   .generation = generation,
                   .pid = static_cast<pid_t>(100 + worker)},
                  2);
    }
    fake.wanted.clear();
  }

  /// The worker dies, and that is reported; the kernel ends it with the next `bury_killed`.
  void die(std::uint32_t worker, bool by_exit = false) {
    if (!alive_[worker]) return;
    alive_[worker] = false;
    fake.killed.erase(worker);
    fake.dies(worker, generations_[worker]);
    fake.report({.kind = Report::Kind::exited,
                 .worker = worker,
                 .generation = generations_[worker],
                 .code = by_exit ? CLD_EXITED : CLD_KILLED,
                 .status = by_exit ? 0 : 9});
  }
  void bury_killed() {
    while (!fake.killed.empty()) {
      const std::uint32_t worker = *fake.killed.begin();
      fake.killed.erase(worker);
      die(worker);
    }
    fake.end_dying();
  }

  /// One step of a worker that keeps the protocol: parks, claims, begins an item or publishes it.
  void step(std::uint32_t worker) {
    if (!alive_[worker]) return;
    ring::LaneHeader& lane = core.lanes[worker].header;
    if (!holds_[worker]) {
      lane.park.look();
      ring::TaskClaimer claimer(core.descriptors, core.claims, core.hint, worker);
      if (const auto claimed = claimer.claim()) {
        holds_[worker] = Held{*claimed, core.descriptors[claimed->slot], 0, false};
        holds_[worker]->item = holds_[worker]->task.begin_item;
      } else {
        lane.park.announce(ring::ParkWord::State::idle);
      }
      return;
    }
    Held& held = *holds_[worker];
    if (!held.begun) {
      lane.park.stay();
      lane.progress.enter_stoppable({held.task.ticket, held.item, ring::Phase::decode});
      if (stops[worker].requested()) return;
      ++starts_[held.task.first_index + held.item];
      held.begun = true;
      return;
    }
    if (!publish(worker, held)) return;
    lane.progress.enter({held.task.ticket, held.item, ring::Phase::published});
    held.begun = false;
    if (++held.item == held.task.end_item) holds_[worker].reset();
  }

  /// A record with a good mark, where the worker's next one is due; false if there is no room.
  bool put(std::uint32_t worker, ring::RecordHeader header, const std::string& text) {
    auto& lane = core.lanes[worker];
    const std::uint64_t tail = lane.header.tail;
    const std::size_t ring = lane.ring().size();
    const std::size_t whole = sizeof header + (text.size() + 31) / 32 * 32;
    if (tail % 32 != 0) return false;
    if (tail % ring + whole > ring) {
      ring::RecordHeader filler{};
      filler.kind = static_cast<std::uint8_t>(ring::RecordKind::run);
      filler.bytes = static_cast<std::uint32_t>(ring - tail % ring - sizeof filler);
      if (tail - lane.header.head + sizeof filler + filler.bytes > ring) return false;
      filler.mark = ring::record_mark(tail);
      std::memcpy(lane.ring().data() + tail % ring, &filler, sizeof filler);
      lane.header.tail = tail + sizeof filler + filler.bytes;
      return put(worker, header, text);
    }
    if (tail - lane.header.head + whole > ring) return false;
    lane.forge(tail, header, text);
    return true;
  }

  /// From here on all workers keep the protocol. Every item must get its outcome.
  void finish() {
    for (int rounds = 0; unfinished(); ++rounds) {
      require(rounds < 5000, "every item has an outcome in the end");
      start_wanted();
      round(true);
      bury_killed();
      for (int steps = 0; steps < 8; ++steps) {
        for (std::uint32_t worker = 0; worker < workers; ++worker) step(worker);
      }
    }
  }

  /// How often the item started.
  [[nodiscard]] const std::map<std::size_t, std::size_t>& starts() const { return starts_; }
  [[nodiscard]] bool alive(std::uint32_t worker) const { return alive_[worker]; }
  [[nodiscard]] std::uint64_t ticket_of(std::uint32_t slot) const {
    return core.descriptors[slot].ticket;
  }
  void stop(std::uint32_t job) {
    jobs[job].job->abandoned = true;
    core.dispatcher.drop(*jobs[job].job);
    supervisor.stop(*jobs[job].job, core.deliveries);
  }

 private:
  struct Held {
    ring::TaskClaimer::Claimed claimed;
    ring::TaskDescriptor task;
    std::uint32_t item;
    bool begun;
  };

  static supervise::ForkServer start_from(FakeServer& fake) {
    fake.report({.kind = Report::Kind::ready}, 1);
    return supervise::ForkServer::start({.workers = workers}, {}, {});
  }
  supervise::ForkServer start_server() { return start_from(fake); }

  bool publish(std::uint32_t worker, const Held& held) {
    ring::RecordHeader header{};
    header.kind = static_cast<std::uint8_t>(ring::RecordKind::value);
    header.last = 1;
    header.ticket = held.task.ticket;
    header.slot = held.claimed.slot;
    header.item = held.item;
    header.bytes = 2;
    return put(worker, header, "ok");
  }

  void deliver() {
    core.deliver();
    for (const auto& job : jobs) require(!job.batch->twice, "an item has one outcome");
  }

  [[nodiscard]] bool unfinished() {
    for (std::size_t job = 0; job < jobs.size(); ++job) {
      if (jobs[job].job->abandoned) continue;
      if (jobs[job].batch->outcomes.size() < next_index_[job] - first_index(job)) return true;
    }
    return false;
  }

  [[nodiscard]] std::uint64_t nanoseconds() const {
    return static_cast<std::uint64_t>(now_.time_since_epoch().count());
  }
  static constexpr std::size_t first_index(std::size_t job) { return job * 100'000; }

 public:
  FakeServer fake;
  testing::TestCore core;
  std::vector<ring::StopWord> stops;
  std::array<testing::TestJob, 4> jobs{testing::TestJob{},
                                       testing::TestJob({}, {.retries = retries}),
                                       testing::TestJob({.run_result_size = 2}),
                                       testing::TestJob({}, {.timeout = std::chrono::hours(1)})};
  supervise::Supervisor supervisor;

 private:
  Clock::time_point now_{std::chrono::hours(1)};
  std::array<std::size_t, 4> next_index_{first_index(0), first_index(1), first_index(2),
                                         first_index(3)};
  std::array<bool, workers> alive_{};
  std::array<std::uint32_t, workers> generations_{};
  std::array<std::optional<Held>, workers> holds_{};
  std::map<std::size_t, std::size_t> starts_;
};

}  // namespace libpool::fuzz
