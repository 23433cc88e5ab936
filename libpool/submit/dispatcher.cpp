/// ④ → ⑤ The dispatcher. Runs in the parent under the core's mutex; see the header.
#include <libpool/submit/dispatcher.hpp>

#include <algorithm>
#include <cassert>
#include <new>
#include <optional>

namespace libpool::submit {

using ring::Claim;

void Dispatcher::enqueue(Chunk::Owner chunk) noexcept {
  ++chunk->job->waiting;
  queue_.push_back(std::move(chunk));
}

void Dispatcher::requeue(Chunk::Owner chunk) noexcept {
  ++chunk->job->waiting;
  queue_.push_front(std::move(chunk));
}

// Modelled in tests/model/pool.pml as refill.
std::size_t Dispatcher::refill(std::uint64_t now) noexcept {
  std::size_t count = 0;
  while (!held_ && !queue_.empty() && publisher_.free_slots() != 0 &&
         place(*queue_.front()->payload, now)) {
    publish(queue_.pop_front(), now);
    ++count;
  }
  return count;
}

/// Brings the payload where workers can read it. While a worker has nothing to do, it does not wait
/// for room, which may be held for ever: by a chunk behind it in the queue, or by a job whose input
/// waits.
bool Dispatcher::place(TaskPayload& payload, std::uint64_t now) noexcept {
  if (memory_.bring_in(payload)) return true;
  if (published_ >= workers_ || now < no_move_before_) return false;
  if (memory_.move_out(payload)) return true;
  no_move_before_ = now + static_cast<std::uint64_t>(std::chrono::nanoseconds(retry_pause).count());
  return false;
}

void Dispatcher::publish(Chunk::Owner chunk, std::uint64_t now) noexcept {
  const std::uint32_t slot = *publisher_.reserve();
  chunk->ticket = ++last_ticket_;
  chunk->published_at = now;
  chunk->handed_over = false;
  chunk->partial.reset();
  --chunk->job->waiting;
  ring::TaskDescriptor& descriptor = publisher_.descriptor(slot);
  descriptor.ticket = chunk->ticket;
  descriptor.payload_offset =
      chunk->payload->in_arena() ? chunk->payload->arena_offset() : ring::own_memory_offset;
  descriptor.call_size = chunk->call_size;
  descriptor.items_offset = chunk->items_offset;
  descriptor.items_size = chunk->items_size;
  descriptor.first_index = chunk->first_index;
  descriptor.begin_item = chunk->next;
  descriptor.end_item = chunk->end;
  descriptor.item_stride = chunk->job->codec->item_stride();
  const bool timed = chunk->job->batch->terms().timeout.count() != 0;
  descriptor.timed = timed ? 1 : 0;
  descriptor.eager = chunk->job->batch->terms().eager ? 1 : 0;
  descriptor.bundled = chunk->bundled ? 1 : 0;
  if (chunk->payload->has_own_memory()) ++own_memory_;
  if (chunk->bundled) ++bundles_;
  if (timed) ++timed_;
  if (descriptor.eager != 0) ++eager_;
  chunk->impatient = impatient(*chunk);
  if (chunk->impatient) ++impatient_;
  ++published_;
  slots_[slot] = std::move(chunk);
  publisher_.publish(slot, last_ticket_);
}

Chunk* Dispatcher::find(std::uint32_t slot, std::uint64_t ticket) noexcept {
  if (slot >= slots_.size() || slots_[slot] == nullptr) return nullptr;
  return slots_[slot]->ticket == ticket ? slots_[slot].get() : nullptr;
}

bool Dispatcher::claimed_by(std::uint32_t slot, std::uint32_t worker) const noexcept {
  return publisher_.claim(slot) == Claim{slots_[slot]->ticket, Claim::State::claimed, worker};
}

bool Dispatcher::impatient(const Chunk& chunk) const noexcept {
  const auto result = chunk.job->codec->run_result_size();
  return chunk.payload->has_own_memory() || !result ||
         std::uint64_t{chunk.end - chunk.next} * *result > patient_bytes_;
}

void Dispatcher::forget(Chunk& chunk) noexcept {
  --published_;
  if (chunk.job->batch->terms().eager) --eager_;
  if (chunk.impatient) --impatient_;
  if (chunk.payload->has_own_memory()) --own_memory_;
  if (chunk.bundled) --bundles_;
  if (chunk.job->batch->terms().timeout.count() != 0) --timed_;
}

void Dispatcher::settle(std::uint32_t slot) noexcept { discard(take(slot)); }

void Dispatcher::discard(Chunk::Owner chunk) noexcept {
  --chunk->job->chunks;
  if (--chunk->payload->chunks == 0) chunk->payload->release();
  settled_.push_back(std::move(chunk));
}

Chunk::Owner Dispatcher::take(std::uint32_t slot) noexcept {
  forget(*slots_[slot]);
  publisher_.release(slot);
  return std::move(slots_[slot]);
}

// Modelled in tests/model/bundle.pml as take_back.
void Dispatcher::take_back(std::uint32_t worker, ring::RemainderWord& remainder) noexcept {
  // Read once: what the worker writes meanwhile must change nothing.
  const ring::Remainder left = remainder.read();
  std::optional<std::uint32_t> slot;
  visit_claimed([&](std::uint32_t at, Chunk& chunk, std::uint32_t owner) {
    if (owner == worker && chunk.bundled && left.is_of(chunk.ticket)) slot = at;
  });
  if (!slot || !left.open()) return;
  Chunk& chunk = *slots_[*slot];
  // It never holds all of the chunk, whose first item is the worker's.
  const bool credible = left.end == chunk.end && left.next > chunk.next;
  if (!credible || chunk.job->abandoned) return;
  std::vector<Chunk::Owner> singles;  // made first: what is taken back must not be lost
  try {
    const std::size_t most = left.end - left.next;
    singles.reserve(most);
    while (singles.size() < most) singles.push_back(chunk.parcel->split());
  } catch (const std::bad_alloc&) {
    return;
  }
  const auto first = remainder.take_back(chunk.ticket, left.next, left.end);
  if (!first) return;
  chunk.job->singly_until = chunk.job->pulled + items_singly;
  for (std::uint32_t end = std::exchange(chunk.end, *first); end != *first; --end) {
    Chunk::Owner single = std::move(singles.back());
    singles.pop_back();
    single->call_size = chunk.call_size;
    single->items_offset = chunk.items_offset;
    single->items_size = chunk.items_size;
    single->first_index = chunk.first_index;
    single->next = end - 1;
    single->end = end;
    ++single->job->chunks;
    ++single->payload->chunks;
    requeue(std::move(single));
  }
  if (chunk.settled()) settle(*slot);
}

std::vector<Chunk::Owner> Dispatcher::take_published() {
  std::vector<Chunk::Owner> published;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot] != nullptr) published.push_back(take(slot));
  }
  publisher_.wipe();
  std::sort(published.begin(), published.end(),
            [](const auto& a, const auto& b) { return a->ticket < b->ticket; });
  return published;
}

void Dispatcher::drop(const Job& job) noexcept {
  Chunks dropped = queue_.take_if([&](const Chunk& chunk) { return chunk.job.get() == &job; });
  while (!dropped.empty()) {
    --dropped.front()->job->waiting;
    discard(dropped.pop_front());
  }
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    auto& chunk = slots_[slot];
    if (chunk == nullptr || chunk->job.get() != &job) continue;
    if (publisher_.revoke(slot, chunk->ticket)) {
      forget(*chunk);
      discard(std::move(chunk));
    }
  }
}

Chunks Dispatcher::take_all() noexcept {
  Chunks all = take_spent();
  all.append(std::move(settled_));
  while (!queue_.empty()) all.push_back(queue_.pop_front());
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot] != nullptr) all.push_back(take(slot));
  }
  return all;
}

void Dispatcher::visit_slots(const std::function<void(const Chunk*, const Claim&)>& visit) const {
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    visit(slots_[slot].get(), publisher_.claim(slot));
  }
}

void Dispatcher::visit_published(
    const std::function<void(std::uint32_t, Chunk&, const Claim&)>& visit) {
  if (published_ == 0) return;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot] == nullptr) continue;
    const Claim claim = publisher_.claim(slot);
    if (claim.ticket == slots_[slot]->ticket) visit(slot, *slots_[slot], claim);
  }
}

void Dispatcher::visit_claimed(
    const std::function<void(std::uint32_t, Chunk&, std::uint32_t)>& visit) {
  visit_published([&](std::uint32_t slot, Chunk& chunk, const Claim& claim) {
    if (claim.state == Claim::State::claimed) visit(slot, chunk, claim.owner);
  });
}

void Dispatcher::visit_own_memory(const std::function<void(Chunk&, std::uint32_t)>& visit) {
  if (own_memory_ == 0) return;
  visit_claimed([&](std::uint32_t, Chunk& chunk, std::uint32_t owner) {
    if (chunk.payload->has_own_memory()) visit(chunk, owner);
  });
}

bool Dispatcher::anything_ready() const noexcept {
  if (published_ == 0) return false;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot] != nullptr && publisher_.claim(slot).state == Claim::State::ready) return true;
  }
  return false;
}

Dispatcher::Load Dispatcher::load() const {
  Load load;
  queue_.for_each([&](const Chunk& chunk) { load.queued += chunk.end - chunk.next; });
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot] == nullptr) continue;
    const bool claimed = publisher_.claim(slot).state == Claim::State::claimed;
    (claimed ? load.running : load.queued) += slots_[slot]->end - slots_[slot]->next;
  }
  return load;
}

}  // namespace libpool::submit
