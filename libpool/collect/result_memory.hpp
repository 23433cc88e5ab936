/// The memory of large results between one result and the next: fresh memory costs several times
/// what the copy into it does.
///
/// Runs in the parent. Neighbours: the collector takes memory for a result that comes in fragments;
/// the deliveries give it back once the result is decoded, or whoever lets the last `Buffer` of it
/// go.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace libpool::collect {

/// Thread-safe; calls nothing under its lock. Lives as long as the last buffer that it lent.
class ResultMemory : public std::enable_shared_from_this<ResultMemory> {
 public:
  using Bytes = std::vector<std::byte>;

  /// Keeps at most so many bytes. Throws `std::bad_alloc`.
  explicit ResultMemory(std::size_t most_bytes);

  /// An empty piece with room for `bytes` bytes: one that was used before, or fresh. Throws
  /// `std::bad_alloc`.
  [[nodiscard]] Bytes take(std::size_t bytes);

  /// Appends to a piece, in a larger one if need be. Throws `std::bad_alloc`, having changed
  /// nothing.
  void append(Bytes& piece, std::span<const std::byte> bytes);

  /// Keeps the piece, in place of older ones if there are too many.
  void give(Bytes&& piece) noexcept;

  /// The piece until the last copy of the pointer is gone; then as `give`. Throws `std::bad_alloc`.
  [[nodiscard]] std::shared_ptr<const Bytes> lend(Bytes&& piece);

  /// The pool has ended: keeps nothing any more.
  void close() noexcept;

 private:
  /// Pieces that are looked through for one, at most.
  static constexpr std::size_t most_pieces = 256;

  [[nodiscard]] Bytes take_kept(std::size_t bytes) noexcept;

  std::mutex mutex_;
  // Guarded by mutex_.
  std::size_t most_bytes_;
  std::size_t bytes_ = 0;      ///< of the pieces
  std::vector<Bytes> pieces_;  ///< the oldest first
};

}  // namespace libpool::collect
