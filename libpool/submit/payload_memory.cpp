/// Memory for task payloads. Runs in the parent; see the header.
#include <libpool/submit/payload_memory.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

namespace libpool::submit {

TaskPayload::~TaskPayload() {
  if (memory_ != nullptr) memory_->give_back(*this);
}

void TaskPayload::swap(TaskPayload& other) noexcept {
  std::swap(size, other.size);
  std::swap(memory_, other.memory_);
  std::swap(bytes_, other.bytes_);
  std::swap(capacity_, other.capacity_);
  std::swap(block_, other.block_);
  std::swap(own_, other.own_);
  std::swap(heap_, other.heap_);
  std::swap(waits_, other.waits_);
}

PayloadMemory::PayloadMemory(std::byte* base, memory::Arena arena)
    : base_(base), largest_block_(arena.capacity() / 4), arena_(std::move(arena)) {}

TaskPayload PayloadMemory::allocate(std::size_t bytes) {
  TaskPayload payload;
  if (bytes > largest_block_) {
    allocate_own(payload, bytes);
  } else {
    bool fits_later = false;
    {
      const std::lock_guard lock(mutex_);
      if (waiting_ == 0) payload.block_ = arena_.allocate(bytes);
      fits_later = bytes <= arena_.committed();
    }
    if (!payload.block_ && !fits_later) {
      // The arena could not grow. Waiting on the heap for a block of this size might never end.
      allocate_own(payload, bytes);
    } else if (payload.block_) {
      payload.bytes_ = base_ + payload.block_->offset;
      payload.capacity_ = payload.block_->size;
    } else {
      payload.heap_ = std::make_unique_for_overwrite<std::byte[]>(bytes);
      payload.bytes_ = payload.heap_.get();
      payload.capacity_ = bytes;
    }
  }
  payload.memory_ = this;
  in_flight_ += payload.capacity_;
  return payload;
}

bool PayloadMemory::has_room(std::size_t bytes) {
  if (bytes >= largest_block_) return true;  // a larger one has memory of its own
  const std::lock_guard lock(mutex_);
  return waiting_ == 0 && arena_.has_room(bytes);
}

void PayloadMemory::allocate_own(TaskPayload& payload, std::size_t bytes) {
  const std::size_t size = (bytes + 4095) / 4096 * 4096;
  memory::MemoryFile file = memory::MemoryFile::create("libpool-payload", size);
  file.reserve(0, size);
  auto mapping = memory::map(file.fd(), 0, size, memory::Access::read_write);
  memory::keep_from_children(mapping);
  payload.bytes_ = memory::address(mapping);
  payload.capacity_ = size;
  payload.own_.emplace(std::move(file), std::move(mapping));
}

void PayloadMemory::enlarge(TaskPayload& payload, std::size_t bytes) {
  TaskPayload larger = allocate(bytes);
  if (payload.size != 0) std::memcpy(larger.bytes_, payload.bytes_, payload.size);
  larger.size = payload.size;
  payload = std::move(larger);
}

void PayloadMemory::finish(TaskPayload& payload) {
  const std::size_t before = payload.capacity_;
  if (payload.own_) {
    // At least a page: what cannot be mapped cannot be handed over.
    payload.own_->file.shrink((std::max<std::size_t>(payload.size, 1) + 4095) / 4096 * 4096);
    payload.own_->file.seal();
    payload.capacity_ = payload.own_->file.size();
  } else if (payload.block_ && payload.size * 2 <= payload.capacity_) {
    const std::lock_guard lock(mutex_);
    arena_.shrink(*payload.block_, payload.size);
    payload.capacity_ = payload.block_->size;
  }
  in_flight_ -= before - payload.capacity_;
}

/// Called with the lock.
void PayloadMemory::stop_waiting(TaskPayload& payload) noexcept {
  if (std::exchange(payload.waits_, false)) --waiting_;
}

bool PayloadMemory::bring_in(TaskPayload& payload) {
  if (payload.block_ || payload.own_) return true;
  std::optional<memory::Block> block;
  {
    const std::lock_guard lock(mutex_);
    block = arena_.allocate(payload.size);
    if (!block) {
      if (!std::exchange(payload.waits_, true)) ++waiting_;
      return false;
    }
    stop_waiting(payload);
  }
  std::memcpy(base_ + block->offset, payload.bytes_, payload.size);
  payload.heap_.reset();
  in_flight_ += block->size - payload.capacity_;
  payload.block_ = block;
  payload.bytes_ = base_ + block->offset;
  payload.capacity_ = block->size;
  return true;
}

bool PayloadMemory::move_out(TaskPayload& payload) noexcept {
  TaskPayload own;
  try {
    allocate_own(own, std::max<std::size_t>(payload.size, 1));
    own.size = payload.size;
    own.chunks = payload.chunks;
    if (own.size != 0) std::memcpy(own.bytes_, payload.bytes_, own.size);
    own.memory_ = this;
    in_flight_ += own.capacity_;
    finish(own);
  } catch (const std::exception&) {
    return false;
  }
  payload = std::move(own);  // what it was goes with `own`
  return true;
}

void PayloadMemory::give_back(TaskPayload& payload) noexcept {
  in_flight_ -= payload.capacity_;
  if (!payload.block_ && !payload.waits_) return;
  const std::lock_guard lock(mutex_);
  stop_waiting(payload);
  if (payload.block_) arena_.free(*payload.block_);
}

TaskWriter::TaskWriter(PayloadMemory& memory, std::size_t expected_bytes)
    : memory_(memory), payload_(memory.allocate(expected_bytes)) {
  begin_ = cursor_ = payload_.bytes();
  end_ = begin_ + payload_.capacity();
}

void TaskWriter::make_room(std::size_t wanted) {
  payload_.size = position();
  // Doubling keeps copying linear; a single large value asks for all it needs at once.
  memory_.enlarge(payload_, std::max(payload_.size + wanted, payload_.capacity() * 2));
  begin_ = payload_.bytes();
  cursor_ = begin_ + payload_.size;
  end_ = begin_ + payload_.capacity();
}

TaskPayload TaskWriter::finish() {
  payload_.size = position();
  memory_.finish(payload_);
  return std::move(payload_);
}

}  // namespace libpool::submit
