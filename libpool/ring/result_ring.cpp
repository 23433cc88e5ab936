/// The two sides of a result ring; see the header for what a death leaves.
///
/// `ResultWriter` runs in a worker, `ResultReader` in the parent.
#include <libpool/ring/result_ring.hpp>

#include <algorithm>
#include <bit>
#include <thread>
#include <utility>

#include <libpool/detail/system.hpp>

namespace libpool::ring {

namespace {

/// Room below which a fragment is not worth its header, unless the ring's end comes first.
constexpr std::size_t least_room = 512;
static_assert(least_room >= sizeof(RecordHeader) + largest_run_result);

/// A record takes at most this part of the ring, so that the parent reads one while the next is
/// written.
constexpr std::size_t records_in_ring = 4;

constexpr std::size_t size_in_use(std::size_t ring, bool whole) noexcept {
  return whole ? ring : first_part(ring);
}

/// Bytes of an outcome that is one record in what a ring begins with, wherever that is free.
constexpr std::size_t in_one_part(std::size_t ring) noexcept {
  return first_part(ring) / records_in_ring - sizeof(RecordHeader);
}

/// A ring gets its whole memory once so many times its bytes have come in fragments of large
/// outcomes: then what that costs, once, is little beside it.
constexpr std::size_t rings_in_fragments = 2;

/// Looks for room this often before it sleeps: the parent is probably copying. After the first few
/// it lets others, the parent perhaps, have the CPU in between.
constexpr int looks_before_sleep = 60;
constexpr int looks_before_yield = 20;

constexpr std::size_t padded(std::size_t bytes) noexcept {
  return (bytes + record_alignment - 1) & ~(record_alignment - 1);
}

}  // namespace

ResultWriter::ResultWriter(LaneHeader& lane, std::span<std::byte> ring, Doorbell doorbell) noexcept
    : lane_(&lane), ring_(ring), size_(first_part(ring.size())), doorbell_(doorbell) {}

void ResultWriter::begin(RecordKind kind, std::uint64_t ticket, std::uint32_t slot,
                         std::uint32_t item) {
  kind_ = static_cast<std::uint64_t>(kind);
  ticket_ = ticket;
  item_ = slot | std::uint64_t{item} << 32;
  const bool large = position() > in_one_part(ring_.size());  // the outcome before
  if (large != whole_) [[unlikely]]
    use(large);
  flushed_ = 0;
  open_fragment();
}

/// Uses the whole ring from here on, or only what it begins with, if that is possible now.
void ResultWriter::use(bool whole) noexcept {
  // Relaxed: the memory is there before it is granted, by a system call.
  if (whole && lane_->granted.load(std::memory_order_relaxed) == 0) return;
  // What is published lies where the size in use says.
  if (lane_->head.load(std::memory_order_acquire) != tail_) return;
  whole_ = whole;
  size_ = size_in_use(ring_.size(), whole);
  // Relaxed: the next store of `tail` or `run` makes it visible; pairs with
  // ResultReader::notice_size.
  lane_->whole.store(whole ? 1 : 0, std::memory_order_relaxed);
}

// Modelled in tests/model/pool.pml as publish.
void ResultWriter::publish() noexcept {
  close_fragment(true);
  doorbell_.ring();
}

void ResultWriter::make_room(std::size_t wanted) {
  flushed_ += static_cast<std::size_t>(cursor_ - begin_);
  close_fragment(false, static_cast<std::uint32_t>(std::min<std::size_t>(wanted, UINT32_MAX)));
  open_fragment();
}

void ResultWriter::open_fragment() {
  wait_for_room();
  const std::size_t offset = tail_ & (size_ - 1);
  const std::size_t most = std::max(size_ / records_in_ring, least_room);
  const std::size_t contiguous = std::min({room(), size_ - offset, most});
  begin_ = cursor_ = ring_.data() + offset + sizeof(RecordHeader);
  end_ = ring_.data() + offset + contiguous;
}

void ResultWriter::close_fragment(bool last, std::uint32_t items) noexcept {
  const auto bytes = static_cast<std::uint32_t>(cursor_ - begin_);
  write_open_header(last);
  write_rest_of_header(bytes, items);
  pass(bytes);
}

/// A header's first three words, put together in registers: read from a header in memory that has
/// just been written in smaller pieces, they would wait for all stores before them.
void ResultWriter::write_open_header(bool last) noexcept {
  static_assert(std::endian::native == std::endian::little);
  static_assert(offsetof(RecordHeader, kind) == 4 && offsetof(RecordHeader, last) == 5);
  static_assert(offsetof(RecordHeader, slot) == 16 && offsetof(RecordHeader, item) == 20);
  static_assert(open_header_bytes == 24);
  const std::uint64_t first =
      record_mark(tail_) | kind_ << 32 | static_cast<std::uint64_t>(last) << 40;
  std::byte* const header = begin_ - sizeof(RecordHeader);
  std::memcpy(header, &first, sizeof first);
  std::memcpy(header + 8, &ticket_, sizeof ticket_);
  std::memcpy(header + 16, &item_, sizeof item_);
}

void ResultWriter::write_rest_of_header(std::uint32_t bytes, std::uint32_t items) noexcept {
  static_assert(offsetof(RecordHeader, items) == open_header_bytes + 4);
  const std::uint64_t rest = bytes | std::uint64_t{items} << 32;
  std::memcpy(begin_ - sizeof(RecordHeader) + open_header_bytes, &rest, sizeof rest);
}

void ResultWriter::pass(std::size_t payload) noexcept {
  tail_ += sizeof(RecordHeader) + padded(payload);
  // Release: the record's bytes are visible to whoever sees this tail; pairs with
  // ResultReader::refresh.
  lane_->tail.store(tail_, std::memory_order_release);
}

std::span<std::byte> ResultWriter::open_run(std::uint64_t ticket, std::uint32_t slot,
                                            std::uint32_t item, std::size_t size) {
  begin(RecordKind::run, ticket, slot, item);
  if (static_cast<std::size_t>(end_ - begin_) < size) {
    // The end of the ring is too near: a run without results fills it.
    cursor_ = end_;
    close_fragment(true);
    open_fragment();
  }
  write_open_header(true);
  // Release: whoever sees the run open sees its header; pairs with ResultReader::look_open.
  lane_->run.store(tail_ + 1, std::memory_order_release);
  return {begin_, end_};
}

// Modelled in tests/model/pool.pml as publish.
void ResultWriter::close_run(std::uint32_t items, std::size_t size) noexcept {
  const auto bytes = static_cast<std::uint32_t>(items * size);
  write_rest_of_header(bytes, items);
  pass(bytes);
  doorbell_.ring();
}

std::size_t ResultWriter::room() const noexcept {
  // Acquire: the parent has finished reading what it gave back; pairs with ResultReader::give_back.
  const std::uint64_t head = lane_->head.load(std::memory_order_acquire);
  return size_ - static_cast<std::size_t>(tail_ - head);
}

void ResultWriter::wait_for_room() noexcept {
  if (room() >= least_room) return;
  doorbell_.ring();
  for (int looks = 0; looks < looks_before_sleep; ++looks) {
    if (room() >= least_room) return;
    if (looks > looks_before_yield) std::this_thread::yield();
  }
  while (room() < least_room) {
    doorbell_.ring();
    lane_->park.announce(ParkWord::State::blocked);
    // The second look. Its load must not move before the announcement; both are seq_cst.
    const std::uint64_t head = lane_->head.load(std::memory_order_seq_cst);
    if (size_ - static_cast<std::size_t>(tail_ - head) >= least_room) {
      lane_->park.stay();
      return;
    }
    lane_->park.sleep(ParkWord::State::blocked);
  }
}

bool ResultReader::refresh() noexcept {
  // Acquire: pairs with close_fragment. Read once; every check is made on this value.
  const std::uint64_t tail = lane_->tail.load(std::memory_order_acquire);
  if (!notice_size()) return false;
  if (tail - head_ > size_ || tail % record_alignment != 0 || tail < noticed_) return false;
  noticed_ = tail;
  return true;
}

/// Takes notice of how much of the ring is in use. Call after an acquire load of what was published
/// last: where that has not been taken yet the size is its own, because it changes only when all
/// has been taken.
bool ResultReader::notice_size() noexcept {
  const std::uint32_t whole = lane_->whole.load(std::memory_order_relaxed);
  if (whole > (granted_ ? 1u : 0u)) return false;
  size_ = size_in_use(ring_.size(), whole == 1);
  return true;
}

ResultReader::Look ResultReader::look(RecordHeader& header,
                                      std::span<const std::byte>& payload) const noexcept {
  if (head_ == noticed_) return Look::empty;
  const std::size_t offset = head_ & (size_ - 1);
  std::memcpy(&header, ring_.data() + offset, sizeof header);
  const std::size_t published = static_cast<std::size_t>(noticed_ - head_);
  const std::size_t contiguous = std::min(published, size_ - offset) - sizeof header;
  const bool known = header.kind >= static_cast<std::uint8_t>(RecordKind::value) &&
                     header.kind <= static_cast<std::uint8_t>(RecordKind::run);
  if (header.mark != record_mark(head_) || !known || header.last > 1 || header.zero != 0 ||
      header.bytes > contiguous) {
    return Look::corrupt;
  }
  payload = {ring_.data() + offset + sizeof header, static_cast<std::size_t>(header.bytes)};
  return Look::record;
}

std::optional<std::uint32_t> ResultReader::look_open(RecordHeader& header,
                                                     std::span<const std::byte>& payload) noexcept {
  // Acquire: pairs with ResultWriter::open_run. A run that was opened elsewhere has been closed.
  if (lane_->run.load(std::memory_order_acquire) != noticed_ + 1) return std::nullopt;
  if (!notice_size()) return std::nullopt;
  // An acquire read: the results before the item that it names are visible.
  const Progress progress = lane_->progress.read();
  // Only if nothing was published meanwhile does the progress word speak of this run.
  if (lane_->tail.load(std::memory_order_relaxed) != noticed_) return std::nullopt;
  const std::size_t offset = noticed_ & (size_ - 1);
  const std::size_t room =
      std::min(size_ - offset, size_ - static_cast<std::size_t>(noticed_ - given_));
  if (room < sizeof header) return std::nullopt;
  header = {};
  std::memcpy(&header, ring_.data() + offset, open_header_bytes);
  if (header.mark != record_mark(noticed_) ||
      header.kind != static_cast<std::uint8_t>(RecordKind::run) || !progress.begun() ||
      !progress.names(header.ticket) || progress.item < header.item) {
    return std::nullopt;
  }
  payload = {ring_.data() + offset + sizeof header, room - sizeof header};
  return progress.item;
}

void ResultReader::pass(const RecordHeader& header) noexcept {
  head_ += sizeof header + padded(static_cast<std::size_t>(header.bytes));
  // Of a small outcome that the ring's end splits it is known how little follows.
  if (header.last == 1 || std::uint64_t{header.bytes} + header.items <= in_one_part(ring_.size()))
      [[likely]]
    return;
  in_fragments_ += header.bytes;
  if (reserve_ == nullptr || in_fragments_ < rings_in_fragments * ring_.size()) return;
  granted_ = std::exchange(reserve_, nullptr)();
  lane_->granted.store(granted_ ? 1 : 0, std::memory_order_relaxed);
}

void ResultReader::give_back() noexcept {
  if (given_ == head_) return;
  given_ = head_;
  // Seq_cst, for the look at the park word that follows; release in it: our reads are done.
  lane_->head.store(head_, std::memory_order_seq_cst);
  lane_->park.wake(ParkWord::State::blocked);
}

// Modelled in tests/model/pool.pml as a part of bury.
void ResultReader::reset() noexcept {
  head_ = given_ = noticed_ = 0;
  lane_->progress.reset();
  lane_->remainder.reset();
  lane_->park.reset();
  lane_->started.store(0, std::memory_order_relaxed);
  lane_->busy.store(0, std::memory_order_relaxed);
  lane_->run.store(0, std::memory_order_relaxed);
  lane_->whole.store(0, std::memory_order_relaxed);
  lane_->granted.store(granted_ ? 1 : 0, std::memory_order_relaxed);
  lane_->head.store(0, std::memory_order_relaxed);
  // Release: the fork server's message orders all of this before the next owner's start anyway.
  lane_->tail.store(0, std::memory_order_release);
}

void LaneClock::account() noexcept {
  const std::uint64_t until = now();
  lane_->busy.store(lane_->busy.load(std::memory_order_relaxed) + (until - since_),
                    std::memory_order_relaxed);
  since_ = until;
}

std::uint64_t LaneClock::now() noexcept {
  timespec time{};
  detail::system_calls.clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace libpool::ring
