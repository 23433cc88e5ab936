/// Memory of results that is used again. Runs in the parent; see the header.
#include <libpool/collect/result_memory.hpp>

#include <algorithm>
#include <utility>

#include <libpool/detail/fresh_memory.hpp>

namespace libpool::collect {

namespace {

/// Pieces that are looked through for one, at most.
constexpr std::size_t most_pieces = 256;

/// Fresh pages that are had at once, at most: the core's lock is held meanwhile.
constexpr std::size_t most_populated = std::size_t{4} << 20;

void grow(ResultMemory::Bytes& piece, std::size_t bytes) {
  if (bytes <= piece.capacity()) return;
  piece.reserve(bytes);
  detail::populate(piece.data() + piece.size(), std::min(bytes - piece.size(), most_populated));
}

}  // namespace

ResultMemory::Bytes ResultMemory::take(std::size_t bytes) {
  Bytes piece;
  {
    const std::lock_guard lock(mutex_);
    // The smallest that is large enough, and not so large that it would be wasted.
    auto best = pieces_.end();
    for (auto one = pieces_.begin(); one != pieces_.end(); ++one) {
      const std::size_t capacity = one->capacity();
      if (capacity < bytes || capacity / 4 > bytes) continue;
      if (best == pieces_.end() || capacity < best->capacity()) best = one;
    }
    if (best != pieces_.end()) {
      piece = std::move(*best);
      bytes_ -= piece.capacity();
      *best = std::move(pieces_.back());
      pieces_.pop_back();
    }
  }
  grow(piece, bytes);
  return piece;
}

void ResultMemory::append(Bytes& piece, std::span<const std::byte> bytes) {
  const std::size_t after = piece.size() + bytes.size();
  if (after > piece.capacity()) grow(piece, std::max(after, 2 * piece.capacity()));
  piece.insert(piece.end(), bytes.begin(), bytes.end());
}

void ResultMemory::give(Bytes&& piece) noexcept {
  const std::size_t capacity = piece.capacity();
  piece.clear();
  try {
    const std::lock_guard lock(mutex_);
    if (capacity == 0 || pieces_.size() == most_pieces) return;
    if (capacity > most_bytes_ - std::min(bytes_, most_bytes_)) return;
    pieces_.push_back(std::move(piece));
    bytes_ += capacity;
  } catch (...) {
    // No memory to remember it by: it is freed.
  }
}

std::shared_ptr<const ResultMemory::Bytes> ResultMemory::lend(Bytes&& piece) {
  auto lent = std::make_unique<Bytes>(std::move(piece));
  return {lent.release(), [self = shared_from_this()](const Bytes* back) {
            const std::unique_ptr<Bytes> ours(const_cast<Bytes*>(back));
            self->give(std::move(*ours));
          }};
}

void ResultMemory::close() noexcept {
  std::vector<Bytes> freed;  // without the lock
  const std::lock_guard lock(mutex_);
  most_bytes_ = bytes_ = 0;
  freed.swap(pieces_);
}

}  // namespace libpool::collect
