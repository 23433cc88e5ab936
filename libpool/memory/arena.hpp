/// The arena of task payloads: a buddy allocator whose books are in the parent's private memory.
///
/// Runs in the parent, the only process that allocates and frees; workers see the bytes and nothing
/// else, so no death needs a repair here. Pages are kept for reuse: fresh ones cost more than the
/// copy into them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace libpool::memory {

/// A range of the arena, in bytes from its start. `size` is a power of two.
struct Block {
  std::size_t offset = 0;
  std::size_t size = 0;
};

/// Not thread-safe: guarded by the core's mutex.
class Arena {
 public:
  static constexpr std::size_t smallest_block = 128;

  /// At most `capacity` bytes (a power of two); the first `committed` (a power of two) are reserved
  /// already, and `commit(offset, bytes)` reserves more, or returns false if there is no memory.
  Arena(std::size_t capacity, std::size_t committed,
        std::function<bool(std::size_t, std::size_t)> commit);

  /// A block of at least `bytes`, aligned to its size (to 128 at least). Nothing if the arena is
  /// full.
  [[nodiscard]] std::optional<Block> allocate(std::size_t bytes);

  /// Whether `allocate` would not find the arena full.
  [[nodiscard]] bool has_room(std::size_t bytes) const noexcept;

  /// Gives back the tail of a block beyond `bytes`; the block's size shrinks accordingly.
  void shrink(Block& block, std::size_t bytes);

  void free(Block block);

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::size_t committed() const noexcept { return committed_; }
  [[nodiscard]] std::size_t used() const noexcept { return used_; }

 private:
  /// State of the smallest block at which a free block starts.
  struct Start {
    std::uint32_t place = 0;  ///< in the free list of its order
    std::int8_t order = -1;   ///< of the free block that starts here, else -1
  };

  [[nodiscard]] static std::size_t order_of(std::size_t bytes) noexcept;
  [[nodiscard]] static std::size_t bytes_of(std::size_t order) noexcept {
    return smallest_block << order;
  }
  bool grow() noexcept;
  void reserve_books(std::size_t committed);
  void insert(std::size_t offset, std::size_t order);
  void remove(std::size_t offset, std::size_t order);

  std::size_t capacity_;
  std::size_t committed_;
  std::size_t used_ = 0;
  std::function<bool(std::size_t, std::size_t)> commit_;
  std::vector<std::vector<std::uint32_t>>
      free_;                   ///< by order: starts, in units of the smallest block
  std::vector<Start> starts_;  ///< by unit, up to `committed_`
};

}  // namespace libpool::memory
