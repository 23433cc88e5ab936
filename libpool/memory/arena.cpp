/// The buddy allocator of task payloads. Runs in the parent; a worker's death changes nothing here.
#include <libpool/memory/arena.hpp>

#include <algorithm>
#include <bit>
#include <cassert>
#include <new>

namespace libpool::memory {

Arena::Arena(std::size_t capacity, std::size_t committed,
             std::function<bool(std::size_t, std::size_t)> commit)
    : capacity_(capacity),
      committed_(std::min(committed, capacity)),
      commit_(std::move(commit)),
      free_(order_of(capacity) + 1) {
  assert(std::has_single_bit(capacity) && capacity >= smallest_block);
  assert(std::has_single_bit(committed_) && committed_ >= smallest_block);
  reserve_books(committed_);
  insert(0, order_of(committed_));
}

std::size_t Arena::order_of(std::size_t bytes) noexcept {
  const std::size_t units = (std::max<std::size_t>(bytes, 1) + smallest_block - 1) / smallest_block;
  return static_cast<std::size_t>(std::bit_width(units - 1));
}

std::optional<Block> Arena::allocate(std::size_t bytes) {
  if (bytes > capacity_) return std::nullopt;
  const std::size_t order = order_of(bytes);
  std::size_t found = order;
  while (true) {
    while (found < free_.size() && free_[found].empty()) ++found;
    if (found < free_.size()) break;
    if (!grow()) return std::nullopt;
    found = order;
  }
  const std::size_t offset = std::size_t{free_[found].back()} * smallest_block;
  remove(offset, found);
  // Halve until it fits; the upper halves stay free.
  while (found > order) {
    --found;
    insert(offset + bytes_of(found), found);
  }
  used_ += bytes_of(order);
  return Block{offset, bytes_of(order)};
}

bool Arena::has_room(std::size_t bytes) const noexcept {
  if (bytes > capacity_) return false;
  if (committed_ < capacity_) return true;  // it can grow, as far as it is known
  const auto fitting = free_.begin() + static_cast<std::ptrdiff_t>(order_of(bytes));
  return std::any_of(fitting, free_.end(), [](const auto& starts) { return !starts.empty(); });
}

void Arena::shrink(Block& block, std::size_t bytes) {
  const std::size_t order = order_of(bytes);
  std::size_t now = order_of(block.size);
  while (now > order) {
    --now;
    insert(block.offset + bytes_of(now), now);
    used_ -= bytes_of(now);
  }
  block.size = bytes_of(now);
}

void Arena::free(Block block) {
  std::size_t order = order_of(block.size);
  std::size_t offset = block.offset;
  used_ -= block.size;
  // Merge with the other half as long as that is free as a whole.
  while (bytes_of(order) < capacity_) {
    const std::size_t buddy = offset ^ bytes_of(order);
    if (buddy >= committed_ || starts_[buddy / smallest_block].order != static_cast<int>(order)) {
      break;
    }
    remove(buddy, order);
    offset = std::min(offset, buddy);
    ++order;
  }
  insert(offset, order);
}

bool Arena::grow() noexcept {
  if (committed_ == capacity_) return false;
  try {
    reserve_books(2 * committed_);
    if (!commit_(committed_, committed_)) return false;
  } catch (const std::bad_alloc&) {
    return false;
  }
  const Block upper{committed_, committed_};
  committed_ *= 2;
  used_ += upper.size;
  free(upper);
  return true;
}

/// So that `free`, which must not throw, never allocates while no more than this is committed.
void Arena::reserve_books(std::size_t committed) {
  starts_.resize(committed / smallest_block);
  for (std::size_t order = 0; bytes_of(order) <= committed; ++order) {
    free_[order].reserve(committed / bytes_of(order));
  }
}

void Arena::insert(std::size_t offset, std::size_t order) {
  const std::size_t unit = offset / smallest_block;
  auto& list = free_[order];
  starts_[unit] = {static_cast<std::uint32_t>(list.size()), static_cast<std::int8_t>(order)};
  list.push_back(static_cast<std::uint32_t>(unit));
}

void Arena::remove(std::size_t offset, std::size_t order) {
  const std::size_t unit = offset / smallest_block;
  auto& list = free_[order];
  const std::uint32_t place = starts_[unit].place;
  // The last one takes the place, so that removal from the middle costs no search.
  const std::uint32_t moved = list.back();
  list[place] = moved;
  starts_[moved].place = place;
  list.pop_back();
  starts_[unit].order = -1;
}

}  // namespace libpool::memory
