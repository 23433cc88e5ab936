/// The audit of the claim words, and the full reset after one that they do not pass.
///
/// Runs in the parent under the core's mutex. All workers can write to the claim words, so one that
/// has gone wild can make a chunk nobody's, for ever, or have it run twice. Who did it cannot be
/// found out, and who runs what is not known any more; so all workers are killed, and when all are
/// dead, their lanes, to which nobody else can write, say what became of each item. A death
/// meanwhile is one of those that the reset waits for.
#include <algorithm>

#include <libpool/supervise/supervisor.hpp>

namespace libpool::supervise {

namespace {

using ring::Claim;

/// A worker that has left no trace of what it did weighs as much as this part of all the deaths
/// that nobody is blamed for: each reset costs what others run, so that few of them have to do.
constexpr std::size_t part_without_trace = 4;

std::uint64_t key_of(std::uint64_t ticket) noexcept { return ticket & ring::progress_ticket_mask; }

}  // namespace

/// By the progress words: which worker is, or was last, at which chunk. Sorted by ticket.
std::vector<Supervisor::Named> Supervisor::named_chunks() const {
  std::vector<Named> named;
  for (std::uint32_t worker = 0; worker < workers_.size(); ++worker) {
    const std::uint64_t ticket = workers_[worker].reader.lane().progress.read().ticket;
    if (ticket != 0) named.push_back({ticket, worker});
  }
  std::sort(named.begin(), named.end());
  return named;
}

/// Whether the claim words could have come about without a fault. No worker that keeps the protocol
/// fails this, however it is interrupted.
bool Supervisor::claims_are_sound() const {
  // Before the claim words: a worker names a chunk after it has claimed it, so that the claim word,
  // read later, must name the worker.
  const std::vector<Named> named = named_chunks();
  std::vector<std::uint32_t> holders;
  bool sound = true;
  dispatcher_.visit_slots([&](const submit::Chunk* chunk, const Claim& claim) {
    if (chunk == nullptr) {
      sound = sound && claim == Claim{};
      return;
    }
    const bool claimed = claim.state == Claim::State::claimed;
    const std::uint32_t owner = claimed ? claim.owner : 0;
    const auto first =
        std::lower_bound(named.begin(), named.end(), Named{key_of(chunk->ticket), 0});
    for (auto name = first; name != named.end() && name->ticket == key_of(chunk->ticket); ++name) {
      sound = sound && claimed && name->worker == owner;
    }
    sound =
        sound && claim.ticket == chunk->ticket &&
        (claimed ? owner < workers_.size() : claim == Claim{chunk->ticket, Claim::State::ready});
    if (sound && claimed) holders.push_back(owner);
  });
  std::sort(holders.begin(), holders.end());
  for (auto holder = holders.begin(); sound && holder != holders.end();) {
    const auto end = std::upper_bound(holder, holders.end(), *holder);
    sound = may_hold(*holder, static_cast<std::size_t>(end - holder));
    holder = end;
  }
  return sound;
}

/// Whether the worker can have claimed so many chunks that are not settled. Call after the claim
/// words were read: what the worker published before its last claim, or before it parked, is then
/// in its ring.
bool Supervisor::may_hold(std::uint32_t worker, std::size_t chunks) const {
  const WorkerRecord& record = workers_[worker];
  if (record.state == State::absent) return false;
  const bool parked = record.reader.lane().park.state() == ring::ParkWord::State::idle;
  // It claims one when it is through with the one before, and parks when it is through with all.
  if (chunks == 1 && !parked) return true;
  // What the parent has not read yet may settle them.
  return record.corrupt || !record.reader.all_taken();
}

bool Supervisor::audit() {
  // Of a worker that was being started nobody tells when the server is lost: what it has claimed is
  // no lie. Nothing runs again then.
  const bool matters = !resetting_ && !ending_ && !server_.lost();
  if (matters && !claims_are_sound()) begin_reset();
  return !resetting_;
}

void Supervisor::begin_reset() noexcept {
  if (resetting_ || ending_) return;
  resetting_ = true;
  dispatcher_.hold();
  for (std::uint32_t worker = 0; worker < workers_.size(); ++worker) {
    if (workers_[worker].state == State::alive) kill(worker);
  }
}

bool Supervisor::all_fallen() const noexcept {
  return std::none_of(workers_.begin(), workers_.end(), [](const WorkerRecord& record) {
    return record.state == State::alive || record.state == State::requested;
  });
}

/// Fallen workers whose progress word names nothing that there ever was: none of theirs, or one
/// that they have written over.
std::size_t Supervisor::without_trace() const {
  std::size_t count = 0;
  for (const WorkerRecord& record : workers_) {
    const ring::Progress progress = record.reader.lane().progress.read();
    const bool credible = progress.ticket != 0 && progress.ticket <= dispatcher_.last_ticket() &&
                          progress.phase <= ring::Phase::retired && !record.corrupt;
    if (record.state == State::fallen && !credible) ++count;
  }
  return count;
}

/// All workers are dead, and nothing changes any more: as at a burial, but for all at once, and
/// with the lanes' word only.
void Supervisor::finish_reset(Clock::time_point now, collect::Deliveries& deliveries) {
  for (std::uint32_t worker = 0; worker < workers_.size(); ++worker) {
    if (workers_[worker].state == State::fallen) {
      drain(worker, collect::OpenRuns::take, deliveries);
    }
  }
  const std::vector<Named> named = named_chunks();
  std::size_t suspects = without_trace();
  // So many resets in a row that settled nothing and blamed nobody are no chance either.
  if (++barren_resets_ > unexplained_deaths_) suspects = std::max<std::size_t>(suspects, 1);
  auto chunks = dispatcher_.take_published();
  for (const auto& chunk : chunks) settle_unclaimed(*chunk, named, suspects, deliveries);
  // The newest first, so that the oldest comes to lie at the front of the queue.
  for (auto chunk = chunks.rbegin(); chunk != chunks.rend(); ++chunk) {
    requeue_rest(std::move(*chunk));
  }
  for (std::uint32_t worker = 0; worker < workers_.size(); ++worker) {
    if (workers_[worker].state == State::fallen) lay_to_rest(worker, now);
  }
  resetting_ = false;
  buried_ = true;
  dispatcher_.resume();
}

/// Settles a chunk, which comes after all that are older, by what the workers that name it had
/// begun. Chunks are claimed in their order, so that those without a name were held by the workers
/// without a trace, as far as there are any.
void Supervisor::settle_unclaimed(submit::Chunk& chunk, const std::vector<Named>& named,
                                  std::size_t& suspects, collect::Deliveries& deliveries) {
  if (chunk.job->abandoned || chunk.settled()) return;
  const Named key{key_of(chunk.ticket), 0};
  auto name = std::lower_bound(named.begin(), named.end(), key);
  std::uint32_t holder = 0;
  std::uint32_t begun = 0;
  const bool nameless = name == named.end() || name->ticket != key.ticket;
  for (; name != named.end() && name->ticket == key.ticket; ++name) {
    const std::uint32_t items = begun_items(name->worker, chunk);
    if (items <= begun) continue;
    begun = items;
    holder = name->worker;
  }
  if (nameless && suspects != 0) {
    --suspects;
    chunk.unexplained_deaths += unexplained_deaths_ / part_without_trace + 1;
    const bool barren = barren_resets_ > unexplained_deaths_;
    if (barren || chunk.unexplained_deaths >= unexplained_deaths_) begun = 1;
  }
  if (begun == 0) return;
  barren_resets_ = 0;
  chunk.unexplained_deaths = 0;
  blame(holder, chunk, begun, deliveries);
}

}  // namespace libpool::supervise
