/// ④ → ⑤ The dispatcher: gives chunks their tickets, publishes them in the task ring and keeps them
/// until they are settled.
///
/// Runs in the parent under the core's mutex. Before it: the feeder; behind it: the workers'
/// claims, the collector and burials, which all ask it for the chunk behind a slot. A worker's
/// death leaves the chunk here, untouched.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <libpool/ring/remainder_word.hpp>
#include <libpool/ring/task_ring.hpp>
#include <libpool/submit/job.hpp>

namespace libpool::submit {

/// Not thread-safe: guarded by the core's mutex.
class Dispatcher {
 public:
  /// `patient_bytes`: a chunk whose results are no more fills no ring.
  Dispatcher(ring::TaskPublisher publisher, PayloadMemory& memory, std::size_t workers = 1,
             std::size_t patient_bytes = 64)
      : publisher_(std::move(publisher)),
        memory_(memory),
        workers_(workers),
        patient_bytes_(patient_bytes),
        slots_(publisher_.slots()) {}

  /// At the end of the queue; chunks of one batch are enqueued in order.
  void enqueue(Chunk::Owner chunk) noexcept;

  /// At the front: what a dead worker left comes before new work.
  void requeue(Chunk::Owner chunk) noexcept;

  /// Publishes as long as there are chunks, free slots and memory; returns how many. `now`:
  /// monotonic ns.
  std::size_t refill(std::uint64_t now) noexcept;

  /// The chunk in the slot, if its ticket is this one; else null. Both numbers may be anything.
  [[nodiscard]] Chunk* find(std::uint32_t slot, std::uint64_t ticket) noexcept;

  /// The worker that holds the slot's chunk may be named by no word but the claim word.
  [[nodiscard]] bool claimed_by(std::uint32_t slot, std::uint32_t worker) const noexcept;

  /// The chunk is settled: frees its slot and memory.
  void settle(std::uint32_t slot) noexcept;

  /// Takes the chunk of a dead worker out of its slot.
  [[nodiscard]] Chunk::Owner take(std::uint32_t slot) noexcept;

  /// Takes the items that the worker has not begun out of its bundle, and queues them anew: at the
  /// front, each as a chunk. Does nothing if there are none.
  void take_back(std::uint32_t worker, ring::RemainderWord& remainder) noexcept;

  /// After a bundle that took a worker long, so many items of its job are handed out one by one.
  static constexpr std::size_t items_singly = 4096;

  /// Publishes nothing until `resume`: the claim words are not to be relied on.
  void hold() noexcept { held_ = true; }
  void resume() noexcept { held_ = false; }

  /// Takes all chunks out of their slots, the oldest first, when no worker is left; all claim words
  /// are good again then.
  [[nodiscard]] std::vector<Chunk::Owner> take_published();

  /// Drops the job's chunks that no worker holds. Those that are held stay, see `held`.
  void drop(const Job& job) noexcept;

  /// Gives everything up, when no worker is left. The caller destroys it without the mutex.
  [[nodiscard]] Chunks take_all() noexcept;

  /// The outcomes of the settled chunks have been handed on: the chunks are spent.
  void retire_settled() noexcept { spent_.append(std::move(settled_)); }

  /// Spent chunks, which hold their job. The caller destroys them without the mutex, because the
  /// user's input and function may go with them; best on a thread that makes chunks, whose heap
  /// they come from.
  [[nodiscard]] Chunks take_spent() noexcept { return std::exchange(spent_, {}); }
  [[nodiscard]] std::size_t spent_chunks() const noexcept { return spent_.size(); }

  /// Ends a chunk that is in no slot and in no queue.
  void discard(Chunk::Owner chunk) noexcept;

  /// Calls `visit(chunk, claim)` for each slot: its chunk, or null, and what its claim word says,
  /// whatever that is.
  void visit_slots(const std::function<void(const Chunk*, const ring::Claim&)>& visit) const;

  /// Calls `visit(slot, chunk, claim)` for each published chunk whose claim word is as it should
  /// be.
  void visit_published(const std::function<void(std::uint32_t, Chunk&, const ring::Claim&)>& visit);

  /// Calls `visit(slot, chunk, owner)` for each claimed chunk.
  void visit_claimed(const std::function<void(std::uint32_t, Chunk&, std::uint32_t)>& visit);

  /// Calls `visit(chunk, owner)` for claimed chunks whose payload has memory of its own.
  void visit_own_memory(const std::function<void(Chunk&, std::uint32_t)>& visit);

  [[nodiscard]] bool anything_ready() const noexcept;
  /// Whether somebody waits for the results of a published chunk one by one.
  [[nodiscard]] bool has_eager() const noexcept { return eager_ != 0; }
  [[nodiscard]] bool has_bundles() const noexcept { return bundles_ != 0; }
  /// Whether a published chunk has deadlines.
  [[nodiscard]] bool has_timed() const noexcept { return timed_ != 0; }
  [[nodiscard]] bool has_queue() const noexcept { return !queue_.empty(); }
  /// How often memory is tried for where there is none of any kind: the attempt may press hard on
  /// what is left.
  static constexpr std::chrono::milliseconds retry_pause{10};

  /// Whether chunks wait for memory, of any kind, while a worker has nothing to do. Nobody tells
  /// when there is some.
  [[nodiscard]] bool stuck() const noexcept {
    return published_ < workers_ && !queue_.empty() && !held_;
  }
  [[nodiscard]] std::size_t published_chunks() const noexcept { return published_; }
  /// The same, if none of them needs the parent soon: their results are small, and so fill no ring,
  /// and their payloads are there. Else zero.
  [[nodiscard]] std::size_t patient_chunks() const noexcept {
    return impatient_ == 0 ? published_ : 0;
  }
  [[nodiscard]] std::size_t queued_chunks() const noexcept { return queue_.size(); }
  [[nodiscard]] std::size_t slots() const noexcept { return slots_.size(); }
  [[nodiscard]] std::uint64_t last_ticket() const noexcept { return last_ticket_; }

  /// Items that wait, and items in chunks that workers hold.
  struct Load {
    std::uint64_t queued = 0;
    std::uint64_t running = 0;
  };
  [[nodiscard]] Load load() const;

 private:
  void publish(Chunk::Owner chunk, std::uint64_t now) noexcept;
  [[nodiscard]] bool place(TaskPayload& payload, std::uint64_t now) noexcept;
  void forget(Chunk& chunk) noexcept;
  [[nodiscard]] bool impatient(const Chunk& chunk) const noexcept;

  ring::TaskPublisher publisher_;
  PayloadMemory& memory_;
  const std::size_t workers_;
  const std::size_t patient_bytes_;
  Chunks queue_;
  std::vector<Chunk::Owner> slots_;  ///< by slot: what is published there
  Chunks settled_;                   ///< whose outcomes are on their way
  Chunks spent_;
  std::size_t published_ = 0;
  std::size_t own_memory_ = 0;  ///< published chunks with memory of their own
  std::size_t timed_ = 0;       ///< published chunks with deadlines
  std::size_t bundles_ = 0;     ///< published chunks that are bundles
  std::size_t eager_ = 0;       ///< published chunks of those whose results are wanted one by one
  std::size_t impatient_ = 0;   ///< published chunks that may need the parent before they end
  std::uint64_t last_ticket_ = 0;
  std::uint64_t no_move_before_ = 0;  ///< monotonic ns
  bool held_ = false;
};

}  // namespace libpool::submit
