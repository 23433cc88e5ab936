/// A process pool's books on one batch, and on each of its chunks until the last item is settled.
///
/// Private memory of the parent, guarded by the core's mutex unless said otherwise. Outcomes are
/// decided here: a chunk knows which of its items are settled whatever happens to the shared memory
/// that mirrors it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <forward_list>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <libpool/detail/batch.hpp>
#include <libpool/detail/chain.hpp>
#include <libpool/detail/chunk_codec.hpp>
#include <libpool/detail/job_list.hpp>
#include <libpool/ring/result_ring.hpp>
#include <libpool/submit/pace.hpp>
#include <libpool/submit/payload_memory.hpp>

namespace libpool::submit {

struct Job : detail::JobList<Job>::Link {
  // Immutable after construction.
  std::shared_ptr<detail::Batch> batch;
  std::unique_ptr<detail::ChunkCodec> codec;
  codec::FunctionToken runner;

  // Owned by the feeding thread.
  std::size_t expected_bytes = 128;  ///< of the next chunk's payload, from the last one's
  std::size_t chunk_bytes = 0;       ///< of the last payload, by its chunks
  std::size_t bundle = 1;            ///< items of a chunk where one is asked for, see `Pace`
  std::vector<std::byte> call;       ///< token and callable, once encoded and if they are small

  // Guarded by the core's mutex.
  std::size_t chunks = 0;        ///< encoded and not yet settled as a whole
  std::size_t waiting = 0;       ///< of those, not yet published
  std::size_t pulled = 0;        ///< items
  std::size_t counted = 0;       ///< items whose outcome is in the pool's counts
  std::size_t settled = 0;       ///< of those, the ones whose outcome has been handed to the batch
  std::uint64_t busy = 0;        ///< ns that workers have spent on its items
  std::uint64_t ended = 0;       ///< items that they have ended
  Pace pace;                     ///< of its items
  std::size_t singly_until = 0;  ///< no bundles before so many items are pulled
  bool input_ended = false;
  bool feeding = false;         ///< a thread pulls its input now
  bool feed_again = false;      ///< room appeared meanwhile
  bool sated = false;           ///< its batch wants no chunk until `room_appeared`
  bool starved = false;         ///< in the chain of those to be fed by somebody, soon
  bool hungry = false;          ///< and not fed meanwhile
  bool posted = false;          ///< a helper thread has been asked to feed it
  bool abandoned = false;       ///< cancelled, terminated or broken: nothing of it matters any more
  std::shared_ptr<Job> behind;  ///< in the chain of starved jobs

  /// Whether it goes on though nobody waits for it.
  [[nodiscard]] bool unattended() const noexcept {
    return batch->terms().feeding != detail::Feeding::by_caller;
  }
  [[nodiscard]] bool over() const noexcept {
    return !feeding && (abandoned || (input_ended && settled == pulled));
  }
};

class Parcel;

/// What has come of an outcome that travels in fragments.
struct PartialOutcome {
  static constexpr std::uint32_t no_worker = UINT32_MAX;

  std::vector<std::byte> bytes;
  std::unique_ptr<detail::Reception> reception;  ///< of a result; takes the bytes instead
  ring::RecordKind kind = ring::RecordKind::value;
  std::uint32_t from = no_worker;  ///< whose fragments they are
  bool oversized = false;          ///< it passed the bound on results; the rest is skipped

  [[nodiscard]] std::size_t size() const noexcept {
    return reception != nullptr ? reception->size() : bytes.size();
  }
  [[nodiscard]] bool empty() const noexcept { return reception == nullptr && bytes.empty(); }
  /// Lets go of what has come.
  void drop() noexcept {
    if (bytes.capacity() != 0) bytes = {};
    reception = nullptr;
  }
  void reset() noexcept {
    drop();
    kind = ring::RecordKind::value;
    from = no_worker;
    oversized = false;
  }
};

/// Consecutive items that travel together, in a parcel.
struct Chunk {
  /// Gives a chunk back to its parcel. Any thread's; when it is the last one, the user's input and
  /// function may go with the job.
  struct Return {
    void operator()(Chunk* chunk) const noexcept;
  };
  using Owner = std::unique_ptr<Chunk, Return>;

  explicit Chunk(Parcel& parcel) noexcept;

  Parcel* const parcel;
  const std::shared_ptr<Job>& job;  ///< the parcel's
  TaskPayload* const payload;       ///< the parcel's
  std::uint64_t call_size = 0;      ///< bytes of the token and the callable
  std::uint64_t items_offset = 0;   ///< in the payload
  std::uint64_t items_size = 0;     ///< bytes
  std::size_t first_index = 0;      ///< place in the batch of item 0
  std::uint32_t next = 0;           ///< the first item not settled; workers settle in order
  std::uint32_t end = 0;
  std::size_t attempts = 0;  ///< of item `next` that ended in a crash
  bool bundled = false;  ///< each item is a chunk by itself: what is not begun can be taken back

  std::size_t unexplained_deaths = 0;  ///< of its holders in a row, with nobody to blame

  // While it is published.
  std::uint64_t ticket = 0;
  bool impatient = false;          ///< may need the parent before it ends
  bool handed_over = false;        ///< its own memory has been sent to the worker that claimed it
  std::uint64_t published_at = 0;  ///< monotonic ns
  PartialOutcome partial;          ///< of item `next`
  Owner behind;                    ///< in the chain that this one is in

  [[nodiscard]] bool settled() const noexcept { return next == end; }
  [[nodiscard]] std::size_t index_of(std::uint32_t item) const noexcept {
    return first_index + item;
  }
};

/// Chunks that were fed together and what they share: a job, and a payload with the runner's token
/// and the callable, then the items of each. One piece of memory and one reference for all of them,
/// which lasts until the last one has been given back.
class Parcel {
 public:
  /// The feeder's hold, which counts as one chunk more, and for those that were not added.
  struct Drop {
    void operator()(Parcel* parcel) const noexcept { parcel->give_back(parcel->left_ + 1); }
  };
  using Holder = std::unique_ptr<Parcel, Drop>;

  /// For at most so many chunks. Throws `std::bad_alloc`.
  [[nodiscard]] static Holder make(std::shared_ptr<Job> job, std::size_t most_chunks) {
    return Holder(new Parcel(std::move(job), most_chunks));
  }

  /// One more chunk, empty. For the holder.
  [[nodiscard]] Chunk::Owner add() {
    --left_;
    return Chunk::Owner(first_ ? &more_.emplace_back(*this) : &first_.emplace(*this));
  }

  /// One more, empty, of items that are taken out of another one, which must live. Guarded by the
  /// core's mutex. Throws `std::bad_alloc`.
  [[nodiscard]] Chunk::Owner split() {
    pieces_.emplace_front(*this);
    held_.fetch_add(1);
    return Chunk::Owner(&pieces_.front());
  }

  const std::shared_ptr<Job> job;
  TaskPayload payload;

 private:
  friend Chunk;
  Parcel(std::shared_ptr<Job> of, std::size_t most_chunks)
      : job(std::move(of)), left_(most_chunks), held_(most_chunks + 1) {
    more_.reserve(most_chunks - 1);
  }
  void give_back(std::size_t chunks) noexcept {
    if (held_.fetch_sub(chunks) == chunks) delete this;
  }

  std::optional<Chunk> first_;
  std::vector<Chunk> more_;  // never more than were reserved, so that they stay where they are
  std::forward_list<Chunk> pieces_;
  std::size_t left_;  // chunks that may be added; owned by the holder
  std::atomic<std::size_t> held_;
};

inline Chunk::Chunk(Parcel& of) noexcept : parcel(&of), job(of.job), payload(&of.payload) {}
inline void Chunk::Return::operator()(Chunk* chunk) const noexcept { chunk->parcel->give_back(1); }

using Jobs = detail::Chain<std::shared_ptr<Job>>;
using Chunks = detail::Chain<Chunk::Owner>;

}  // namespace libpool::submit
