/// The two sides of the task ring; see the header for what a death leaves.
///
/// `TaskPublisher` runs in the parent, `TaskClaimer` in a worker.
#include <libpool/ring/task_ring.hpp>

#include <cassert>

namespace libpool::ring {

TaskPublisher::TaskPublisher(std::span<TaskDescriptor> descriptors, std::span<ClaimWord> claims)
    : descriptors_(descriptors),
      claims_(claims),
      free_((claims.size() + 63) / 64),
      free_count_(claims.size()) {
  assert(descriptors.size() == claims.size());
  for (std::size_t slot = 0; slot < claims.size(); ++slot) set_free(slot);
}

void TaskPublisher::release(std::uint32_t slot) {
  claims_[slot].release();
  set_free(slot);
  ++free_count_;
}

void TaskPublisher::set_free(std::size_t slot) noexcept {
  const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
  assert((free_[slot / 64] & bit) == 0);
  free_[slot / 64] |= bit;
}

void TaskPublisher::wipe() noexcept {
  for (ClaimWord& word : claims_) word.release();
}

bool TaskPublisher::revoke(std::uint32_t slot, std::uint64_t ticket) {
  if (!claims_[slot].revoke(ticket)) return false;
  set_free(slot);
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
bool TaskClaimer::ready_among(std::size_t slots) const noexcept {
  const auto mask = static_cast<std::uint32_t>(claims_.size()) - 1;
  const std::uint32_t start = hint_->slot.load(std::memory_order_relaxed);
  for (std::uint32_t i = 0; i != slots; ++i) {
    if (claims_[(start + i) & mask].ready()) return true;
  }
  return false;
}

}  // namespace libpool::ring
