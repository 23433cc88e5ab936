/// Memory for task payloads: blocks of the shared arena, memory of their own for large ones, the
/// heap while the arena is full.
///
/// Runs in the parent, on feeding threads while they encode and under the core's lock when chunks
/// are settled. Only the parent allocates and frees, in private books, so a worker's death leaves
/// nothing to repair.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>

#include <libpool/codec/payload.hpp>
#include <libpool/memory/arena.hpp>
#include <libpool/memory/segment.hpp>

namespace libpool::submit {

class PayloadMemory;

/// A payload of its own memory: a sealed memfd that is handed to the worker which claims the chunk.
struct OwnMemory {
  memory::MemoryFile file;
  memory::Mapping mapping;
};

/// The bytes of one payload and their owner. Move-only; gives the memory back when it dies.
class TaskPayload {
 public:
  TaskPayload() = default;
  TaskPayload(TaskPayload&& other) noexcept { swap(other); }
  TaskPayload& operator=(TaskPayload&& other) noexcept {
    swap(other);
    return *this;
  }
  ~TaskPayload();

  [[nodiscard]] std::byte* bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] bool in_arena() const noexcept { return block_.has_value(); }
  [[nodiscard]] bool has_own_memory() const noexcept { return own_.has_value(); }
  [[nodiscard]] std::size_t arena_offset() const noexcept { return block_->offset; }
  [[nodiscard]] int own_fd() const noexcept { return own_->file.fd(); }

  /// Gives the memory back before the object dies.
  void release() noexcept { TaskPayload().swap(*this); }

  std::size_t size = 0;    ///< bytes written
  std::size_t chunks = 1;  ///< not settled yet; guarded by the core's mutex

 private:
  friend class PayloadMemory;
  void swap(TaskPayload& other) noexcept;

  PayloadMemory* memory_ = nullptr;
  std::byte* bytes_ = nullptr;
  std::size_t capacity_ = 0;
  std::optional<memory::Block> block_;
  std::optional<OwnMemory> own_;
  std::unique_ptr<std::byte[]> heap_;
  bool waits_ = false;  ///< there was no room to bring it in
};

/// Thread-safe. Outlives all its payloads.
class PayloadMemory {
 public:
  /// `base` is the arena's start in this process; larger payloads than `largest_block` get memory
  /// of their own.
  PayloadMemory(std::byte* base, memory::Arena arena);

  /// Room for at least `bytes`, on the heap if there is none in the arena or others have waited for
  /// it before. Throws `std::bad_alloc` or `std::system_error`.
  [[nodiscard]] TaskPayload allocate(std::size_t bytes);

  /// Whether a payload of so many bytes would lie where workers can read it. One that does not is
  /// written to fresh memory first, and copied when there is room.
  [[nodiscard]] bool has_room(std::size_t bytes);

  /// Moves what is written to room for at least `bytes`.
  void enlarge(TaskPayload& payload, std::size_t bytes);

  /// The payload is complete: unused memory is given back, own memory is sealed.
  void finish(TaskPayload& payload);

  /// Brings a payload that waits on the heap into the arena; false while there is no room, which is
  /// then kept for it.
  [[nodiscard]] bool bring_in(TaskPayload& payload);

  /// Gives a payload that waits on the heap memory of its own instead; false if there is none.
  [[nodiscard]] bool move_out(TaskPayload& payload) noexcept;

  /// Bytes of the largest payload that lies in the arena.
  [[nodiscard]] std::size_t largest_block() const noexcept { return largest_block_; }

  /// Bytes of all payloads alive.
  [[nodiscard]] std::size_t in_flight() const noexcept { return in_flight_.load(); }

 private:
  friend class TaskPayload;
  void give_back(TaskPayload& payload) noexcept;
  void allocate_own(TaskPayload& payload, std::size_t bytes);
  void stop_waiting(TaskPayload& payload) noexcept;

  std::byte* base_;
  std::size_t largest_block_;
  std::atomic<std::size_t> in_flight_{0};
  std::mutex mutex_;
  // Guarded by mutex_.
  memory::Arena arena_;
  std::size_t waiting_ = 0;  ///< payloads that are to be brought in once there is room
};

/// Writes a payload, enlarging it as it grows.
class TaskWriter final : public codec::ContiguousWriter {
 public:
  TaskWriter(PayloadMemory& memory, std::size_t expected_bytes);

  /// Ends the writing.
  [[nodiscard]] TaskPayload finish();

 protected:
  void make_room(std::size_t wanted) override;

 private:
  PayloadMemory& memory_;
  TaskPayload payload_;
};

}  // namespace libpool::submit
