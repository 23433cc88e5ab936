/// Burials: settling what a dead worker held.
///
/// Runs in the parent under the core's mutex, after the death notice, when nothing of the worker
/// can change any more. The order matters: first the last drain, because what was published counts;
/// then its claims; then its lane is reset for the next owner; then sleepers are woken, because the
/// dead worker may have taken a wake with it (the core does, as part of the same round); then a
/// replacement is started.
#include <signal.h>

#include <cstring>
#include <string>
#include <utility>

#include <libpool/errors.hpp>
#include <libpool/supervise/supervisor.hpp>

namespace libpool::supervise {

namespace {

std::string describe(ExitStatus exit) {
  if (exit.status) return "exited with status " + std::to_string(*exit.status);
  const char* name = sigdescr_np(*exit.signal);
  return "was killed by signal " + std::to_string(*exit.signal) + " (" +
         (name != nullptr ? name : "unknown") + ")";
}

std::exception_ptr crash(const WorkerRecord& record, const char* phase, std::size_t index) {
  const ExitStatus exit = record.exit;
  std::string what = "worker " + std::to_string(record.pid) + " ";
  if (record.corrupt) what += "damaged its result ring and ";
  what += describe(exit);
  if (record.state == WorkerRecord::State::fallen) {
    what += ", as all were, because one had damaged the memory that they share,";
  }
  what += phase != nullptr ? std::string(" while ") + phase + " item " + std::to_string(index)
                           : std::string(" before its first task");
  return std::make_exception_ptr(WorkerCrashed(what, record.pid, exit.signal, exit.status, index));
}

/// Whether the dead worker has left with the agreed farewell.
bool has_retired(const WorkerRecord& record) {
  return record.exit.status == 0 &&
         record.reader.lane().progress.read().phase == ring::Phase::retired;
}

}  // namespace

// Modelled in tests/model/pool.pml as bury.
void Supervisor::bury(std::uint32_t worker, ExitStatus exit, Clock::time_point now,
                      collect::Deliveries& deliveries) {
  WorkerRecord& record = workers_[worker];
  buried_ = true;
  record.exit = exit;
  if (std::exchange(record.lingers, false)) --lingering_;
  drain(worker, collect::OpenRuns::take, deliveries);
  if (!has_retired(record) && !ending_ && record.state == State::alive) ++tally_.lost;
  // A claim word that lies would have a chunk that somebody else runs run again.
  if (!audit()) {
    record.state = State::fallen;
    return;
  }
  settle_claims(worker, deliveries);
  lay_to_rest(worker, now);
}

/// Everything of the dead worker is settled: makes its things ready for the next owner.
void Supervisor::lay_to_rest(std::uint32_t worker, Clock::time_point now) {
  WorkerRecord& record = workers_[worker];
  const ring::Progress progress = record.reader.lane().progress.read();
  const bool never_claimed = progress.ticket == 0 && record.settled == 0;
  // One that was killed in a reset may have been about to start well, unless it has said otherwise.
  const bool may_have_started = resetting_ && record.failed_start.empty();
  if (never_claimed && record.start_error == nullptr && !may_have_started) {
    record.start_error = crash(record, nullptr, 0);
  }
  // A worker whose descriptors were lost may have served all the same.
  const bool failed = record.start_error != nullptr && never_claimed && !has_retired(record);
  record.reader.reset();
  stops_[worker].take_back();
  if (record.pidfd && !is_dead(record.pidfd.get())) record.ending = std::move(record.pidfd);
  record.pidfd.reset();
  record.socket.reset();
  record.state = State::absent;
  record.doomed = record.corrupt = false;
  replace(worker, failed, now);
  record.start_error = nullptr;
  record.failed_start = {};
}

// Modelled in tests/model/pool.pml as settle_claims.
void Supervisor::settle_claims(std::uint32_t worker, collect::Deliveries& deliveries) {
  std::vector<std::uint32_t> slots;
  dispatcher_.visit_claimed([&](std::uint32_t slot, submit::Chunk&, std::uint32_t owner) {
    if (owner == worker) slots.push_back(slot);
  });
  for (const std::uint32_t slot : slots) settle_claim(worker, slot, deliveries);
}

void Supervisor::settle_claim(std::uint32_t worker, std::uint32_t slot,
                              collect::Deliveries& deliveries) {
  submit::Chunk::Owner chunk = dispatcher_.take(slot);
  if (chunk->job->abandoned || chunk->settled()) {
    dispatcher_.discard(std::move(chunk));
    return;
  }
  std::uint32_t begun = begun_items(worker, *chunk);
  if (begun != 0) {
    chunk->unexplained_deaths = 0;
  } else if (!workers_[worker].doomed && ++chunk->unexplained_deaths >= unexplained_deaths_) {
    begun = 1;
  }
  blame(worker, *chunk, begun, deliveries);
  requeue_rest(std::move(chunk));
}

/// How many items of the chunk, from `next` on, the worker had begun whose outcomes died with it.
std::uint32_t Supervisor::begun_items(std::uint32_t worker, const submit::Chunk& chunk) const {
  const WorkerRecord& record = workers_[worker];
  // A doomed worker began nothing after the item that it was killed for, and that one has its
  // outcome.
  if (record.doomed) return 0;
  const ring::Progress progress = record.reader.lane().progress.read();
  const bool names = progress.names(chunk.ticket) && progress.item < chunk.end;
  if (!record.corrupt) return names && progress.begun() && progress.item == chunk.next ? 1 : 0;
  // Outcomes after the damage are lost. One item is blamed whatever the progress word says: else
  // the item that did the damage would do it again, for ever.
  const bool credible = names && progress.item >= chunk.next &&
                        (progress.begun() || progress.phase == ring::Phase::published);
  return credible ? progress.item - chunk.next + 1 : 1;
}

/// So many items of the chunk, from `next` on, were begun by the worker and died with it: they are
/// run again if retries are left, and else lost.
void Supervisor::blame(std::uint32_t worker, submit::Chunk& chunk, std::uint32_t items,
                       collect::Deliveries& deliveries) {
  if (items == 0) return;
  if (chunk.attempts < chunk.job->batch->terms().retries) {
    ++chunk.attempts;
    ++tally_.retried;
    return;
  }
  const WorkerRecord& record = workers_[worker];
  const ring::Progress progress = record.reader.lane().progress.read();
  const auto phase = progress.begun() ? progress.phase : ring::Phase::run;
  for (std::uint32_t item = 0; item < items; ++item, ++chunk.next) {
    const std::size_t index = chunk.index_of(chunk.next);
    deliveries.add(chunk.job, index, collect::Deliveries::Kind::crashed,
                   crash(record, ring::describe(phase), index));
  }
  chunk.attempts = 0;
  policy_.resolved();
}

void Supervisor::requeue_rest(submit::Chunk::Owner chunk) {
  if (chunk->settled() || chunk->job->abandoned) {
    dispatcher_.discard(std::move(chunk));
  } else {
    dispatcher_.requeue(std::move(chunk));
  }
}

/// A worker is gone, or was never there: starts another, now, later or never again.
void Supervisor::replace(std::uint32_t worker, bool failed_start, Clock::time_point now) {
  WorkerRecord& record = workers_[worker];
  if (ending_ || broken_ != nullptr) return;
  std::optional<Clock::time_point> when = now;
  if (failed_start) when = policy_.failed(now);
  if (!when) {
    cause_ = std::move(record.failed_start);
    cause_pid_ = record.pid;
    broken_ = record.start_error;
    return;
  }
  record.respawn_at = when;
  ++absent_;
  wake_at(*when);
}

/// The fork server is dead, and so no worker can be replaced; the kernel kills those that are left
/// with it.
void Supervisor::lose_server(Clock::time_point now, collect::Deliveries& deliveries) {
  broken_ = std::make_exception_ptr(PoolError("the fork server has died"));
  for (std::uint32_t worker = 0; worker < workers_.size(); ++worker) {
    WorkerRecord& record = workers_[worker];
    if (record.state != State::alive) {
      if (record.state == State::requested) record.state = State::absent;
      continue;
    }
    kill(worker);
    if (record.pidfd) await_death(record.pidfd.get());
    bury(worker, {SIGKILL, std::nullopt}, now, deliveries);
  }
}

}  // namespace libpool::supervise
