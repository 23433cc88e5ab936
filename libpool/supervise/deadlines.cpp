/// Deadlines and stops: killing a worker for one item, or for one job, without harm to anything
/// else; and bundles that are late, for which nobody is killed.
///
/// Runs in the parent under the core's mutex. A kill is preceded by a stop: the parent asks the
/// worker to begin nothing more, then reads what it has begun. Either the worker is still at the
/// item in question and will not go on to another, or it has moved on and is let go. Without the
/// stop the kill could hit the next item.
#include <algorithm>
#include <string>
#include <utility>

#include <libpool/errors.hpp>
#include <libpool/supervise/supervisor.hpp>

namespace libpool::supervise {

namespace {

using Clock = Supervisor::Clock;

Clock::time_point saturated_sum(Clock::time_point from, std::chrono::nanoseconds span) {
  return span < Clock::time_point::max() - from ? from + span : Clock::time_point::max();
}

}  // namespace

void Supervisor::check_deadlines(Clock::time_point now, collect::Deliveries& deliveries) {
  if (!dispatcher_.has_timed()) return;
  dispatcher_.visit_published(
      [&](std::uint32_t slot, submit::Chunk& chunk, const ring::Claim& claim) {
        const std::chrono::nanoseconds timeout = chunk.job->batch->terms().timeout;
        if (timeout.count() == 0) return;
        if (claim.state != ring::Claim::State::claimed) {
          wake_at(saturated_sum(now, timeout));  // no item of it can expire earlier
          return;
        }
        if (claim.owner >= workers_.size()) return;
        const WorkerRecord& record = workers_[claim.owner];
        if (record.state != State::alive || record.doomed) return;
        if (const auto when = check_deadline(slot, chunk, claim.owner, now, deliveries))
          wake_at(*when);
      });
}

/// Ends the item that the chunk's worker is at if its time is up. Returns when to look again, if
/// ever: no item can expire before the current one does or, between items, before one could that
/// began now.
std::optional<Supervisor::Clock::time_point> Supervisor::check_deadline(
    std::uint32_t slot, submit::Chunk& chunk, std::uint32_t worker, Clock::time_point now,
    collect::Deliveries& deliveries) {
  const std::chrono::nanoseconds timeout = chunk.job->batch->terms().timeout;
  const WorkerRecord& record = workers_[worker];
  const ring::Progress seen = record.reader.lane().progress.read();
  if (!seen.begun() || !seen.names(chunk.ticket)) return saturated_sum(now, timeout);
  // The worker's word on when it began, within what the parent knows.
  const auto known = static_cast<std::uint64_t>(now.time_since_epoch().count());
  const std::uint64_t began =
      std::clamp(record.reader.started(), chunk.published_at, std::max(chunk.published_at, known));
  const Clock::time_point deadline = saturated_sum(
      Clock::time_point(std::chrono::nanoseconds(static_cast<std::int64_t>(began))), timeout);
  if (deadline > now) return deadline;
  if (expire(slot, chunk, worker, seen, deliveries)) return std::nullopt;
  return now + std::chrono::milliseconds{1};
}

/// Resolves the item as timed out and kills the worker; false if the worker has finished the item
/// meanwhile.
bool Supervisor::expire(std::uint32_t slot, submit::Chunk& chunk, std::uint32_t worker,
                        ring::Progress seen, collect::Deliveries& deliveries) {
  WorkerRecord& record = workers_[worker];
  const std::uint64_t ticket = chunk.ticket;
  stops_[worker].request();
  const ring::Progress now = record.reader.lane().progress.read();
  drain(worker, collect::OpenRuns::take,
        deliveries);  // may settle the chunk as a whole: it is looked up again
  submit::Chunk* still = dispatcher_.find(slot, ticket);
  if (now.item != seen.item || !now.names(ticket) || !now.begun() || still == nullptr ||
      still->next != seen.item) {
    take_back_stop(worker);
    return false;
  }
  const std::size_t index = still->index_of(still->next);
  if (!still->job->abandoned) {
    deliveries.add(still->job, index, collect::Deliveries::Kind::timed_out,
                   std::make_exception_ptr(TaskTimeout(
                       "item " + std::to_string(index) + " passed its timeout while worker " +
                           std::to_string(record.pid) + " was " + ring::describe(now.phase) + " it",
                       index)));
  }
  // The chunk stays in its slot until the worker is dead; then what is left of it runs elsewhere.
  ++still->next;
  still->attempts = 0;
  still->partial.drop();
  policy_.resolved();
  record.doomed = true;
  kill(worker);
  return true;
}

/// Nothing else is to wait for the item that a late worker is at: what is left goes to whoever has
/// time.
void Supervisor::take_back_late_bundles(Clock::time_point now) {
  if (!dispatcher_.has_bundles()) return;
  for (std::uint32_t worker = 0; worker < workers_.size() && !resetting_; ++worker) {
    WorkerRecord& record = workers_[worker];
    if (record.state != State::alive || record.doomed || record.corrupt) continue;
    ring::RemainderWord& remainder = record.reader.lane().remainder;
    const ring::Remainder left = remainder.read();
    if (!left.open()) continue;
    if (std::exchange(record.bundle, left.ticket) != left.ticket) record.bundle_seen = now;
    if (now - record.bundle_seen < late_bundle_) {
      wake_at(record.bundle_seen + late_bundle_);
    } else {
      // Who holds what must be true: nobody else's items are to begin twice.
      if (!audit()) return;
      dispatcher_.take_back(worker, remainder);
      if (remainder.read().open()) wake_at(now + submit::Dispatcher::retry_pause);
    }
  }
}

void Supervisor::take_back_stop(std::uint32_t worker) noexcept {
  stops_[worker].take_back();
  workers_[worker].reader.lane().park.wake(ring::ParkWord::State::blocked);
}

void Supervisor::stop(const submit::Job& job, collect::Deliveries& deliveries) {
  // Who holds what must be true: a worker that is killed for this job is blamed for no other item.
  if (!audit()) return;
  std::vector<std::uint32_t> holders;
  dispatcher_.visit_claimed([&](std::uint32_t, submit::Chunk& chunk, std::uint32_t worker) {
    if (chunk.job.get() == &job && worker < workers_.size()) holders.push_back(worker);
  });
  for (const std::uint32_t worker : holders) {
    WorkerRecord& record = workers_[worker];
    if (record.state != State::alive || record.doomed) continue;
    stops_[worker].request();
    drain(worker, collect::OpenRuns::take, deliveries);
    bool holds = false;
    dispatcher_.visit_claimed([&](std::uint32_t, submit::Chunk& chunk, std::uint32_t owner) {
      holds = holds || (owner == worker && chunk.job.get() == &job);
    });
    // All of the chunk was published before the stop: the worker may be at something else by now.
    if (!holds) {
      take_back_stop(worker);
      continue;
    }
    record.doomed = true;
    kill(worker);
  }
}

}  // namespace libpool::supervise
