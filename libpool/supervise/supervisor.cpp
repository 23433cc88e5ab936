/// The supervisor's rounds. Runs in the parent under the core's mutex; see the header. Burials are
/// in bury.cpp.
#include <libpool/supervise/supervisor.hpp>

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <new>
#include <system_error>
#include <utility>

#include <libpool/codec/exception_codec.hpp>
#include <libpool/detail/descriptor_message.hpp>
#include <libpool/detail/system.hpp>
#include <libpool/ring/pool_description.hpp>

namespace libpool::supervise {

using detail::system_calls;
using worker::Report;

Supervisor::Supervisor(ForkServer server, std::vector<ring::ResultReader> readers,
                       std::span<ring::StopWord> stops, submit::Dispatcher& dispatcher,
                       collect::Collector& collector, RestartPolicy policy,
                       std::size_t unexplained_deaths, std::chrono::nanoseconds late_bundle)
    : server_(std::move(server)),
      workers_(readers.size()),
      stops_(stops),
      dispatcher_(dispatcher),
      collector_(collector),
      policy_(std::move(policy)),
      unexplained_deaths_(unexplained_deaths),
      late_bundle_(late_bundle) {
  for (std::size_t i = 0; i < readers.size(); ++i) workers_[i].reader = readers[i];
}

void Supervisor::start() {
  for (WorkerRecord& worker : workers_) worker.state = State::requested;
  server_.spawn(0, static_cast<std::uint32_t>(workers_.size()), 0);
}

bool Supervisor::pump(Clock::time_point now, bool thorough, collect::Deliveries& deliveries) {
  timer_.reset();
  buried_ = false;
  bool anything = thorough && take_reports(now, deliveries);
  if (server_.lost() && broken_ == nullptr && !ending_) lose_server(now, deliveries);
  if (lingering_ != 0) bury_lingering(now, deliveries);
  if (resetting_ && all_fallen()) finish_reset(now, deliveries);
  const auto open_runs = thorough ? collect::OpenRuns::take : collect::OpenRuns::leave;
  anything = drain_all(open_runs, deliveries) || anything;
  hand_over_own_memory();
  if (thorough) take_back_late_bundles(now);
  if (thorough && now - audited_ >= audit_period) {
    audited_ = now;
    (void)audit();
  }
  if (!resetting_) check_deadlines(now, deliveries);
  if (absent_ != 0) start_due(now);
  if (server_.has_unsent()) wake_at(now + std::chrono::milliseconds{10});
  return anything;
}

// Modelled in tests/model/pool.pml as a loop of round.
bool Supervisor::drain_all(collect::OpenRuns open_runs, collect::Deliveries& deliveries) {
  bool anything = false;
  for (std::uint32_t worker = 0; worker < workers_.size(); ++worker) {
    if (workers_[worker].state == State::alive)
      anything = drain(worker, open_runs, deliveries) || anything;
  }
  return anything;
}

bool Supervisor::drain(std::uint32_t worker, collect::OpenRuns open_runs,
                       collect::Deliveries& deliveries) {
  WorkerRecord& record = workers_[worker];
  const bool fallen = record.state == State::fallen;
  if (record.corrupt || (resetting_ && !fallen)) return false;
  auto drained = collector_.drain({worker, record.pid, record.doomed, fallen}, record.reader,
                                  open_runs, deliveries);
  if (drained.outcomes != 0) {
    record.settled += drained.outcomes;
    submit::Job& job = *drained.job;
    job.ended += drained.outcomes;
    // It grows at the end of each chunk.
    if (const std::uint64_t busy = record.reader.busy(); busy > record.busy) {
      job.busy += busy - std::exchange(record.busy, busy);
      job.pace.update(job.busy, job.ended);
    }
    policy_.resolved();
    barren_resets_ = 0;
  }
  if (drained.failed_start) {
    // One that is longer than the ring comes in several rounds; it is decoded at the burial.
    auto& whole = record.failed_start;
    whole.insert(whole.end(), drained.failed_start->begin(), drained.failed_start->end());
    drained.corrupt = drained.corrupt || whole.size() > collector_.max_result_size();
  }
  if (drained.corrupt) {
    record.corrupt = true;
    kill(worker);
  }
  if (drained.disowned) begin_reset();
  return drained.anything;
}

// Modelled in tests/model/pool.pml as a loop of round.
bool Supervisor::take_reports(Clock::time_point now, collect::Deliveries& deliveries) {
  bool anything = false;
  while (auto event = server_.receive()) {
    anything = true;
    const Report report = event->report;
    if (report.worker >= workers_.size()) continue;
    WorkerRecord& record = workers_[report.worker];
    if (report.generation != record.generation) continue;
    switch (report.kind) {
      case Report::Kind::spawned:
        spawned(report.worker, std::move(*event));
        break;
      case Report::Kind::fork_failed:
        record.pid = report.pid;
        record.settled = 0;
        record.start_error = std::make_exception_ptr(
            std::system_error(report.error, std::generic_category(), "fork"));
        // A process that the server could not watch may have claimed a chunk before it was killed.
        bury(report.worker, {SIGKILL, std::nullopt}, now, deliveries);
        break;
      case Report::Kind::exited: {
        const bool by_exit = report.code == CLD_EXITED;
        const ExitStatus exit{by_exit ? std::nullopt : std::optional(report.status),
                              by_exit ? std::optional(report.status) : std::nullopt};
        exited(report.worker, exit, now, deliveries);
        break;
      }
      default:
        break;
    }
  }
  return anything;
}

void Supervisor::spawned(std::uint32_t worker, ForkServer::Event event) {
  WorkerRecord& record = workers_[worker];
  record.state = State::alive;
  record.pid = event.report.pid;
  record.pidfd = std::move(event.pidfd);
  record.socket = std::move(event.socket);
  record.settled = 0;
  record.busy = 0;
  record.start_error = nullptr;
  ++tally_.spawned;
  if (!record.pidfd || !record.socket) {
    // No descriptors left in this process. The worker has perhaps begun an item, and serves as well
    // as it can: the server kills it for us, and a payload of own memory makes it end by itself.
    record.start_error =
        std::make_exception_ptr(std::system_error(EMFILE, std::generic_category(), "recvmsg"));
  }
  if (ending_ || resetting_) kill(worker);
}

void Supervisor::exited(std::uint32_t worker, ExitStatus exit, Clock::time_point now,
                        collect::Deliveries& deliveries) {
  WorkerRecord& record = workers_[worker];
  if (record.state != State::alive) return;
  if (record.pidfd && !is_dead(record.pidfd.get()) && holds_item_to_retry(worker)) {
    record.exit = exit;
    record.lingers = true;
    ++lingering_;
    return;
  }
  bury(worker, exit, now, deliveries);
}

/// Another attempt at an item shall not meet the files that the last one has locked, nor the ports
/// that it has bound: the kernel gives them back at the very end of a process.
bool Supervisor::holds_item_to_retry(std::uint32_t worker) const {
  bool holds = false;
  dispatcher_.visit_claimed([&](std::uint32_t, submit::Chunk& chunk, std::uint32_t owner) {
    holds = holds || (owner == worker && chunk.attempts < chunk.job->batch->terms().retries);
  });
  return holds;
}

void Supervisor::bury_lingering(Clock::time_point now, collect::Deliveries& deliveries) {
  for (std::uint32_t worker = 0; worker < workers_.size(); ++worker) {
    const WorkerRecord& record = workers_[worker];
    if (record.lingers && is_dead(record.pidfd.get())) bury(worker, record.exit, now, deliveries);
  }
  if (lingering_ != 0) wake_at(now + std::chrono::milliseconds{1});
}

// Modelled in tests/model/pool.pml as a loop of refill.
void Supervisor::wake_idle(std::size_t count) noexcept {
  const auto workers = static_cast<std::uint32_t>(workers_.size());
  const std::uint32_t first = next_to_wake_;
  for (std::uint32_t i = 0; i < workers && count != 0; ++i) {
    const std::uint32_t worker = (first + i) % workers;
    WorkerRecord& record = workers_[worker];
    // One whose start has not been reported yet may sleep already, and nobody would wake it later.
    if (record.state == State::absent || record.doomed) continue;
    if (record.reader.lane().park.wake(ring::ParkWord::State::idle)) {
      --count;
      next_to_wake_ = (worker + 1) % workers;
    }
  }
}

bool Supervisor::still_waking() const noexcept {
  const auto workers = static_cast<std::uint32_t>(workers_.size());
  const WorkerRecord& record = workers_[(next_to_wake_ + workers - 1) % workers];
  return record.state != State::absent &&
         record.reader.lane().park.state() == ring::ParkWord::State::notified;
}

// Modelled in tests/model/pool.pml as a part of count_wakes.
bool Supervisor::enough_look(std::size_t chunks) const noexcept {
  if (chunks > workers_.size()) return false;
  std::size_t looking = 0;
  for (std::size_t worker = 0; worker < workers_.size() && looking < chunks; ++worker) {
    const WorkerRecord& record = workers_[worker];
    if (record.state != State::absent && record.reader.lane().park.looks()) ++looking;
  }
  return looking == chunks;
}

void Supervisor::hand_over_own_memory() noexcept {
  dispatcher_.visit_own_memory([&](submit::Chunk& chunk, std::uint32_t owner) {
    if (chunk.handed_over || owner >= workers_.size() || !workers_[owner].socket) return;
    const ring::OwnMemoryMessage message{chunk.ticket, chunk.payload->size};
    const int fd = chunk.payload->own_fd();
    const auto sent = detail::send_message(workers_[owner].socket.get(), &message, sizeof message,
                                           {&fd, 1}, false);
    // A socket that is full holds messages for chunks that are over; the next round tries again.
    chunk.handed_over = sent >= 0;
    if (sent < 0) wake_at(Clock::now() + std::chrono::milliseconds{1});
  });
}

void Supervisor::start_due(Clock::time_point now) {
  if (ending_ || resetting_ || broken_ != nullptr) return;
  for (std::uint32_t worker = 0; worker < workers_.size(); ++worker) {
    WorkerRecord& record = workers_[worker];
    if (!record.respawn_at) continue;
    if (*record.respawn_at > now) {
      wake_at(*record.respawn_at);
      continue;
    }
    record.respawn_at.reset();
    --absent_;
    record.state = State::requested;
    ++record.generation;
    server_.spawn(worker, 1, record.generation);
  }
}

void Supervisor::kill(std::uint32_t worker) noexcept {
  WorkerRecord& record = workers_[worker];
  // A sandbox may forbid the call, or a task may have become another user; the server may do
  // better.
  if (record.pidfd &&
      (system_calls.pidfd_send_signal(record.pidfd.get(), SIGKILL) == 0 || errno == ESRCH)) {
    return;
  }
  try {
    server_.kill(worker, record.generation);
  } catch (const std::bad_alloc&) {
    // It lives on, unused, until the pool ends.
  }
}

void Supervisor::kill_all() noexcept {
  ending_ = true;
  for (std::uint32_t worker = 0; worker < workers_.size(); ++worker) {
    if (workers_[worker].state == State::alive) kill(worker);
  }
}

void Supervisor::shut_down() noexcept {
  ending_ = true;
  server_.shut_down();
  for (WorkerRecord& record : workers_) {
    // At once, unless the server was killed and the kernel is still ending its workers.
    if (record.state == State::alive && record.pidfd) await_death(record.pidfd.get());
    if (record.ending) await_death(record.ending.get());
    record.state = State::absent;
    record.pidfd.reset();
    record.ending.reset();
    record.socket.reset();
  }
}

void Supervisor::wake_at(Clock::time_point when) noexcept {
  if (!timer_ || when < *timer_) timer_ = when;
}

bool Supervisor::all_reported() const noexcept {
  return std::none_of(workers_.begin(), workers_.end(),
                      [](const WorkerRecord& record) { return record.state == State::requested; });
}

std::vector<WorkerStats> Supervisor::workers() const {
  std::vector<WorkerStats> stats;
  for (const WorkerRecord& record : workers_) {
    if (record.state != State::alive) continue;
    stats.push_back({record.pid, record.settled,
                     std::chrono::nanoseconds{static_cast<std::int64_t>(record.reader.busy())}});
  }
  return stats;
}

std::exception_ptr Supervisor::cause() const {
  if (cause_.empty()) return broken_;
  return codec::decode_exception(codec::PayloadReader(cause_), cause_pid_, 0);
}

std::uint64_t Supervisor::busy() const noexcept {
  std::uint64_t sum = 0;
  for (const WorkerRecord& record : workers_) {
    if (record.state == State::alive) sum += record.reader.busy();
  }
  return sum;
}

}  // namespace libpool::supervise
