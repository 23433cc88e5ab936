/// A worker's lane: its result ring, progress word and park word.
///
/// One producer, the worker, in the only mapping that any worker has of it; one consumer, the
/// parent. A record becomes visible by one store of `tail`, after all its bytes. A death before
/// that store leaves nothing, after it everything; the parent drains the lane once more after the
/// death notice, when nothing can change any more.
///
/// Results of one size lie side by side in a run, one record for many of them. While it is open
/// each result is published by the progress word's step to the next item, and `tail` passes the run
/// as a whole when it is closed.
///
/// A ring begins with a quarter of its bytes (a page at least). When much has come in fragments of
/// large outcomes the parent reserves the others. From then on the worker has the whole ring after
/// an outcome that needs several fragments in that quarter, and the quarter, which stays in its
/// cache, after one that does not.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include <libpool/codec/payload.hpp>
#include <libpool/ring/death_word.hpp>
#include <libpool/ring/event_count.hpp>
#include <libpool/ring/progress_word.hpp>
#include <libpool/ring/remainder_word.hpp>

namespace libpool::ring {

enum class RecordKind : std::uint8_t {
  value = 1,         ///< an encoded result
  error = 2,         ///< an encoded exception; what came of a value before it is void
  failed_start = 3,  ///< an encoded exception of the initializer; ticket and item are zero
  run = 4,           ///< results of one size, of consecutive items
};

/// In front of each record and each fragment of a long one. A record fills a multiple of
/// `record_alignment`.
struct RecordHeader {
  std::uint32_t mark;  ///< `record_mark(position)`
  std::uint8_t kind;   ///< RecordKind
  std::uint8_t last;   ///< 1: the outcome is complete with this fragment
  std::uint16_t zero;
  std::uint64_t ticket;
  std::uint32_t slot;
  std::uint32_t item;  ///< of a run: the first
  // Of an open run not yet written.
  std::uint32_t bytes;  ///< of payload that follow
  /// Of a run: how many results it holds. Of a fragment that is not the last: bytes that are known
  /// to follow, a hint. Else zero.
  std::uint32_t items;
};
inline constexpr std::size_t record_alignment = 32;
static_assert(sizeof(RecordHeader) == record_alignment);
static_assert(offsetof(RecordHeader, ticket) == 8 && offsetof(RecordHeader, bytes) == 24);
inline constexpr std::size_t open_header_bytes = offsetof(RecordHeader, bytes);

/// Bytes of a result ring, at most: a record's length has 32 bits.
inline constexpr std::size_t largest_result_ring = std::size_t{1} << 30;

inline constexpr std::size_t page_size = 4096;

/// Bytes that a ring of so many, a power of two, begins with.
[[nodiscard]] constexpr std::size_t first_part(std::size_t ring) noexcept {
  return std::max(ring / 4, std::min(ring, page_size));
}

static_assert(std::is_trivially_copyable_v<RecordHeader>);

/// Ties a record to its place, so that stale bytes are not taken for one.
[[nodiscard]] constexpr std::uint32_t record_mark(std::uint64_t position) noexcept {
  return 0x6C706F6Cu ^ static_cast<std::uint32_t>(position / record_alignment);
}

/// The head of a lane in shared memory. The ring's bytes follow it.
struct LaneHeader {
  // Written by the worker, at each item: the parent looks here only when it must.
  alignas(64) ProgressWord progress;
  std::atomic<std::uint64_t>
      started;  ///< monotonic time in ns at which the current item began, in timed chunks
  RemainderWord remainder;  ///< of a bundle; the parent takes from it, too
  // Written by the worker, at each record.
  alignas(64) std::atomic<std::uint64_t> tail;  ///< bytes ever published
  std::atomic<std::uint64_t> run;               ///< 1 + the tail at which a run was opened last
  std::atomic<std::uint64_t> busy;              ///< ns spent on chunks
  std::atomic<std::uint32_t> whole;  ///< 1: the whole ring is in use; changes while it is empty
  // Written by the parent.
  alignas(64) std::atomic<std::uint64_t> head;  ///< bytes ever consumed
  std::atomic<std::uint32_t> granted;           ///< 1: the whole ring may be used
  // Written by both.
  alignas(64) ParkWord park;
  // Written by the worker at its start, and by the kernel at its death.
  alignas(64) DeathWord death;
};
static_assert(sizeof(LaneHeader) == 320 && offsetof(LaneHeader, head) == 128);
inline constexpr std::size_t lane_header_bytes = page_size;  ///< so that rings are page-aligned

/// The worker's side: a writer that encodes straight into the ring. Values that do not fit are
/// published in fragments, each as soon as the parent has made room for it. Not thread-safe.
class ResultWriter final : public codec::PayloadWriter {
 public:
  ResultWriter(LaneHeader& lane, std::span<std::byte> ring, Doorbell doorbell) noexcept;

  /// Starts the outcome of an item. One that was begun and not published is void.
  void begin(RecordKind kind, std::uint64_t ticket, std::uint32_t slot, std::uint32_t item);

  /// The outcome is complete: one release store makes it visible; then rings if the parent sleeps.
  void publish() noexcept;

  /// Opens a run: room for results of `size` bytes each (or none) of items from `item` on. The
  /// step of the progress word from one of them to the next publishes the first one's result.
  [[nodiscard]] std::span<std::byte> open_run(std::uint64_t ticket, std::uint32_t slot,
                                              std::uint32_t item, std::size_t size);

  /// Publishes the run as a whole: so many results. Then rings if the parent sleeps.
  void close_run(std::uint32_t items, std::size_t size) noexcept;

  /// Rings the doorbell if the parent sleeps.
  void ring() noexcept { doorbell_.ring(); }

 protected:
  void make_room(std::size_t wanted) override;

 private:
  void use(bool whole) noexcept;
  void open_fragment();
  void close_fragment(bool last, std::uint32_t items = 0) noexcept;
  void write_open_header(bool last) noexcept;
  void write_rest_of_header(std::uint32_t bytes, std::uint32_t items) noexcept;
  void pass(std::size_t payload) noexcept;
  void wait_for_room() noexcept;
  [[nodiscard]] std::size_t room() const noexcept;

  LaneHeader* lane_;
  std::span<std::byte> ring_;  ///< of it the first `size_` bytes are in use
  std::size_t size_;
  bool whole_ = false;  ///< all of it is
  Doorbell doorbell_;
  // Of the record that was begun, as words of its header.
  std::uint64_t kind_ = 0;
  std::uint64_t ticket_ = 0;
  std::uint64_t item_ = 0;  ///< slot and item
  std::uint64_t tail_ = 0;  ///< private copy: this side alone writes it
};

/// The parent's side. Trusts nothing: reads `tail` once, copies each header before it looks at it,
/// and checks the copy. Not thread-safe: guarded by the core's mutex.
class ResultReader {
 public:
  /// Reserves what a ring does not begin with; false if it cannot be had.
  using Reserve = std::function<bool()>;

  ResultReader() = default;
  ResultReader(LaneHeader& lane, std::span<std::byte> ring, Reserve reserve = nullptr) noexcept
      : lane_(&lane), ring_(ring), size_(first_part(ring.size())), reserve_(std::move(reserve)) {}

  enum class Look : std::uint8_t { empty, record, corrupt };

  /// Takes notice of what has been published; false if that is impossible.
  [[nodiscard]] bool refresh() noexcept;

  /// The next record up to the tail last noticed. The header is a private copy; the payload lies in
  /// the ring, in bounds, and may change under a hostile worker: copy it, then use it.
  [[nodiscard]] Look look(RecordHeader& header, std::span<const std::byte>& payload) const noexcept;

  /// The run that the worker has open behind all published records: the results in `payload` of
  /// the items from `header.item` up to, not including, the returned one are complete. Nothing if
  /// there is none. Of the header only what an open run has is set.
  [[nodiscard]] std::optional<std::uint32_t> look_open(
      RecordHeader& header, std::span<const std::byte>& payload) noexcept;

  /// Goes on behind the record that `look` showed. Once much has come in fragments, has the rest of
  /// the ring reserved and grants it.
  void pass(const RecordHeader& header) noexcept;

  /// Gives the room of all passed records back and wakes the worker if it waits for room.
  void give_back() noexcept;

  /// After the owner's death and the final drain: empty, ready for the next owner.
  void reset() noexcept;

  [[nodiscard]] LaneHeader& lane() const noexcept { return *lane_; }
  [[nodiscard]] std::uint64_t consumed() const noexcept { return head_; }

  /// Whether the parent has taken all records that are published now. Acquire: what the worker did
  /// after publishing more is not seen by whoever has seen this.
  [[nodiscard]] bool all_taken() const noexcept {
    return lane_->tail.load(std::memory_order_acquire) == head_;
  }

  /// The worker's own account of its time, for statistics and estimates only.
  [[nodiscard]] std::uint64_t busy() const noexcept {
    return lane_->busy.load(std::memory_order_relaxed);
  }
  /// When the current item of a timed chunk began, by the worker's word; clamp before use.
  [[nodiscard]] std::uint64_t started() const noexcept {
    return lane_->started.load(std::memory_order_relaxed);
  }

 private:
  [[nodiscard]] bool notice_size() noexcept;

  LaneHeader* lane_ = nullptr;
  std::span<std::byte> ring_;
  std::size_t size_ = 0;  ///< bytes in use of it, as last read
  Reserve reserve_;       ///< null once it has been called
  bool granted_ = false;
  std::uint64_t in_fragments_ = 0;  ///< bytes of large outcomes before their last fragment
  std::uint64_t head_ = 0;          ///< private copy: this side alone writes it
  std::uint64_t given_ = 0;         ///< head as the worker knows it
  std::uint64_t noticed_ = 0;       ///< tail as last read
};

/// The worker's account of its own time, in its lane. The parent uses it for statistics and,
/// clamped to what it knows itself, for deadlines.
class LaneClock {
 public:
  explicit LaneClock(LaneHeader& lane) noexcept : lane_(&lane) {}

  /// An item of a timed chunk begins. Call before `ProgressWord::enter_stoppable`, whose store
  /// makes it visible.
  void item_starts() noexcept { lane_->started.store(now(), std::memory_order_relaxed); }

  /// The worker has been idle.
  void start() noexcept { since_ = now(); }

  /// Adds the time since `start` or the last call to the busy time.
  void account() noexcept;

  /// The monotonic clock, ns.
  [[nodiscard]] static std::uint64_t now() noexcept;

 private:
  LaneHeader* lane_;
  std::uint64_t since_ = 0;
};

}  // namespace libpool::ring
