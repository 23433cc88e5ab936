/// One worker thread of a thread pool, and what the chunk that it runs tells it and asks it.
///
/// Runs in the parent, on a worker thread; the timekeeper looks in from outside. A crash here is
/// the program's.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

#include <libpool/detail/batch.hpp>
#include <libpool/detail/export.hpp>
#include <libpool/this_worker.hpp>

namespace libpool::detail {

struct ThreadChunk;

/// Totals of a thread pool; relaxed, but written before the batch counts the items they are about.
struct ThreadCounts {
  std::atomic<std::uint64_t> submitted{0};
  std::atomic<std::uint64_t> succeeded{0};
  std::atomic<std::uint64_t> failed{0};
  std::atomic<std::uint64_t> timed_out{0};
  std::atomic<std::uint64_t> cancelled{0};
  std::atomic<std::uint64_t> spawned{0};
  std::atomic<std::uint64_t> lost{0};
  std::atomic<std::uint64_t> queued{0};   ///< now
  std::atomic<std::uint64_t> running{0};  ///< now
};

/// Wakes the timekeeper when a deadline is earlier than the one that it sleeps for.
class Timekeeper {
 public:
  /// Called by a worker after it has set its deadline, without locks.
  virtual void expect(Clock::time_point deadline) noexcept = 0;

 protected:
  ~Timekeeper() = default;
};

/// A worker thread: not its number in the pool, which its replacements share.
struct ThreadWorker {
  explicit ThreadWorker(std::size_t number) noexcept : index(number) {}

  const std::size_t index;
  std::atomic<pid_t> id{0};
  std::atomic<std::uint64_t> tasks_done{0};
  std::atomic<std::int64_t> busy{0};  ///< nanoseconds

  // Guarded by the core's mutex.
  std::jthread thread;
  std::jthread predecessor;              ///< ends as this one begins, which joins it
  const ThreadChunk* current = nullptr;  ///< the chunk that it runs
  std::shared_ptr<ThreadWorker> behind;  ///< among those that are overdue, or have ended

  std::mutex timing;
  // Guarded by timing, which may be taken under the core's mutex.
  Deadline deadline;      ///< of `item`, which runs now
  std::size_t item = 0;   ///< its place in the batch
  bool overtime = false;  ///< `item` timed out: its outcome is decided, the thread was replaced
};

enum class ItemEnd : std::uint8_t { succeeded, failed };

/// The run of one chunk. Owned by the worker thread.
class LIBPOOL_EXPORT ThreadRun {
 public:
  ThreadRun(Batch& batch, ThreadWorker& worker, ThreadCounts& counts,
            Timekeeper& timekeeper) noexcept
      : batch_(batch),
        worker_(worker),
        counts_(counts),
        timekeeper_(timekeeper),
        place_(thread_place()),
        timed_(batch.terms().timeout.count() > 0) {}

  /// The item begins; false if nobody wants it any more.
  [[nodiscard]] bool begin(std::size_t index) noexcept {
    if (batch_.abandoned()) return false;
    place_.task = index;
    if (timed_) begin_timed(index);
    return true;
  }

  /// The function has returned; false if the outcome is decided already, and the run ends.
  [[nodiscard]] bool finish() noexcept {
    if (timed_ && !finish_timed()) return false;
    return !batch_.abandoned();
  }

  [[nodiscard]] bool timed() const noexcept { return timed_; }
  /// The worker was replaced while an item ran: what is left of the chunk belongs to others.
  [[nodiscard]] bool taken_away() const noexcept { return taken_away_; }

  /// The place in its batch of the item that runs now, where items are not timed: `begin` without
  /// its question.
  [[nodiscard]] std::size_t& task() noexcept { return place_.task; }

  /// Counts items that the batch will count as settled with their chunk, in `settle`.
  void add(ItemEnd end, std::size_t items = 1) noexcept {
    (end == ItemEnd::succeeded ? succeeded_ : failed_) += items;
  }

  /// Counts an item that is settled right after.
  void count_one(ItemEnd end) noexcept;

  /// Ends the run of a chunk of `items` items: those that did not run are cancelled.
  void settle(std::size_t items) noexcept;

 private:
  void begin_timed(std::size_t index) noexcept;
  [[nodiscard]] bool finish_timed() noexcept;
  void count(std::size_t succeeded, std::size_t failed) noexcept;

  Batch& batch_;
  ThreadWorker& worker_;
  ThreadCounts& counts_;
  Timekeeper& timekeeper_;
  WorkerPlace& place_;
  const bool timed_;
  bool taken_away_ = false;
  std::size_t succeeded_ = 0;  // counted by `settle`
  std::size_t failed_ = 0;
  std::size_t counted_ = 0;  // counted already
};

}  // namespace libpool::detail
