/// Memory of results that is used again. Runs in the parent; see the header.
#include <libpool/collect/result_memory.hpp>

#include <algorithm>
#include <utility>

#include <libpool/detail/fresh_memory.hpp>

namespace libpool::collect {

ResultMemory::ResultMemory(std::size_t most_bytes) : most_bytes_(most_bytes) {
  // So that keeping a piece takes no memory.
  pieces_.reserve(most_pieces);
}

ResultMemory::Bytes ResultMemory::take(std::size_t bytes) {
  Bytes piece = take_kept(bytes);
  piece.reserve(bytes);
  return piece;
}

/// The smallest piece that is large enough; an empty one if there is none.
ResultMemory::Bytes ResultMemory::take_kept(std::size_t bytes) noexcept {
  Bytes piece;
  const std::lock_guard lock(mutex_);
  auto best = pieces_.end();
  for (auto one = pieces_.begin(); one != pieces_.end(); ++one) {
    if (one->capacity() < bytes) continue;
    if (best == pieces_.end() || one->capacity() < best->capacity()) best = one;
  }
  if (best != pieces_.end()) {
    piece = std::move(*best);
    pieces_.erase(best);
    bytes_ -= piece.capacity();
  }
  return piece;
}

void ResultMemory::append(Bytes& piece, std::span<const std::byte> bytes) {
  const std::size_t after = piece.size() + bytes.size();
  if (after > piece.capacity()) {
    Bytes larger = take(std::max(after, 2 * piece.capacity()));
    detail::populate(larger.data(), piece.size());
    larger.insert(larger.end(), piece.begin(), piece.end());
    give(std::exchange(piece, std::move(larger)));
  }
  // Some at a time: the core's lock is held.
  detail::populate_ahead(piece.data(), piece.size(), after, piece.capacity());
  piece.insert(piece.end(), bytes.begin(), bytes.end());
}

void ResultMemory::give(Bytes&& piece) noexcept {
  Bytes ours = std::move(piece);
  ours.clear();
  const std::size_t capacity = ours.capacity();
  while (capacity != 0) {
    Bytes oldest;  // freed without the lock
    // A child that the program forked may have a copy of the lock that nobody will open.
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock() || capacity > most_bytes_) return;
    if (bytes_ + capacity <= most_bytes_ && pieces_.size() != pieces_.capacity()) {
      pieces_.push_back(std::move(ours));
      bytes_ += capacity;
      return;
    }
    // What has lain here longest is of a size that is wanted no more.
    oldest = std::move(pieces_.front());
    pieces_.erase(pieces_.begin());
    bytes_ -= oldest.capacity();
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
