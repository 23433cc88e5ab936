/// The two sides of the task ring; see the header for what a death leaves.
///
/// `TaskPublisher` runs in the parent, `TaskClaimer` in a worker.
#include <libpool/ring/task_ring.hpp>

#include <algorithm>
#include <cassert>

namespace libpool::ring {

TaskPublisher::TaskPublisher(std::span<TaskDescriptor> descriptors, std::span<ClaimWord> claims)
    : descriptors_(descriptors), claims_(claims), used_(claims.size()), free_count_(claims.size()) {
  assert(descriptors.size() == claims.size());
}

std::optional<std::uint32_t> TaskPublisher::reserve() {
  if (free_count_ == 0) return std::nullopt;
  const auto slots = static_cast<std::uint32_t>(claims_.size());
  // Slots held by slow chunks are passed over; they pin themselves and not the ring.
  while (used_[cursor_]) cursor_ = (cursor_ + 1) % slots;
  const std::uint32_t slot = cursor_;
  cursor_ = (cursor_ + 1) % slots;
  used_[slot] = true;
  --free_count_;
  return slot;
}

void TaskPublisher::publish(std::uint32_t slot, const TaskDescriptor& descriptor) noexcept {
  // The descriptor first: a worker reads it as soon as it has claimed the word.
  descriptors_[slot] = descriptor;
  claims_[slot].publish(descriptor.ticket);
}

void TaskPublisher::release(std::uint32_t slot) {
  assert(used_[slot]);
  claims_[slot].release();
  used_[slot] = false;
  ++free_count_;
}

void TaskPublisher::wipe() noexcept {
  for (ClaimWord& word : claims_) word.release();
}

bool TaskPublisher::revoke(std::uint32_t slot, std::uint64_t ticket) {
  if (!claims_[slot].revoke(ticket)) return false;
  used_[slot] = false;
  ++free_count_;
  return true;
}

TaskClaimer::TaskClaimer(std::span<const TaskDescriptor> descriptors, std::span<ClaimWord> claims,
                         ScanHint& hint, std::uint32_t worker) noexcept
    : descriptors_(descriptors), claims_(claims), hint_(&hint), worker_(worker) {}

// Modelled in tests/model/pool.pml as scan.
std::optional<TaskClaimer::Claimed> TaskClaimer::claim() noexcept {
  const auto mask = static_cast<std::uint32_t>(claims_.size()) - 1;
  const std::uint32_t start = hint_->slot.load(std::memory_order_relaxed);
  for (std::uint32_t i = 0; i <= mask; ++i) {
    const std::uint32_t slot = (start + i) & mask;
    if (!claims_[slot].ready()) continue;
    if (const auto ticket = claims_[slot].claim(worker_)) {
      // A word that another worker has scribbled over: there is no such chunk, and what lies in its
      // place is not for us. The parent finds the word and resets all.
      if (descriptors_[slot].ticket != *ticket) continue;
      hint_->slot.store((slot + 1) & mask, std::memory_order_relaxed);
      return Claimed{slot, *ticket};
    }
  }
  return std::nullopt;
}

// Modelled in tests/model/pool.pml as a step of park.
bool TaskClaimer::anything_ready() const noexcept {
  return std::any_of(claims_.begin(), claims_.end(),
                     [](const ClaimWord& word) { return word.ready(); });
}

}  // namespace libpool::ring
