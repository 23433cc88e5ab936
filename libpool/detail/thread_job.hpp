/// A thread pool's half of a batch, without its types: what the core queues, feeds and runs.
///
/// Runs in the parent. Neighbours: the core of the thread pool, and `thread_task.hpp`, which knows
/// the types. A crash in `run` is the program's.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <utility>

#include <libpool/detail/batch.hpp>
#include <libpool/detail/export.hpp>
#include <libpool/detail/job_list.hpp>
#include <libpool/detail/thread_run.hpp>

namespace libpool::detail {

class ThreadJob;

/// Consecutive items of a batch. `items` is what the job pulled; parts of one pull share it.
struct ThreadChunk {
  std::shared_ptr<ThreadJob> job;
  std::shared_ptr<void> items;
  std::size_t first_index = 0;  ///< place in the batch of item 0
  std::size_t begin = 0;        ///< items of `items`
  std::size_t end = 0;
  std::unique_ptr<ThreadChunk> behind = nullptr;  ///< in the queue

  [[nodiscard]] std::size_t size() const noexcept { return end - begin; }
};

/// Its books on one batch.
class LIBPOOL_EXPORT ThreadJob : public Errand,
                                 public JobList<ThreadJob>::Link,
                                 public std::enable_shared_from_this<ThreadJob> {
 public:
  struct Pulled {
    std::shared_ptr<void> items = nullptr;
    std::size_t count = 0;
    bool ended = false;  ///< after these items, by itself or for `input_error`
    std::exception_ptr input_error = nullptr;
    std::exception_ptr item_error =
        nullptr;  ///< one more was pulled, and could not be copied for this
  };

  explicit ThreadJob(std::shared_ptr<Batch> batch) noexcept : batch_(std::move(batch)) {}
  virtual ~ThreadJob() = default;

  [[nodiscard]] Batch& batch() const noexcept { return *batch_; }

  /// Feeds the job, on a helper thread.
  void perform() noexcept final;

  /// At most `limit` items. Throws `std::bad_alloc`, having pulled nothing.
  [[nodiscard]] virtual Pulled pull(std::size_t limit) = 0;

  /// The feeding thread lets go of the input, which may be the caller's.
  virtual void drop_source() noexcept = 0;
  /// Runs the items of the chunk and hands their outcomes to the store.
  virtual void run(const ThreadChunk& chunk, ThreadRun& run) noexcept = 0;

  // Guarded by the core's mutex.
  std::size_t chunks = 0;         ///< queued or running
  bool feeding = false;           ///< a thread takes feeding steps, or has been asked to
  bool feed_again = false;        ///< room appeared meanwhile
  bool waits_for_chunks = false;  ///< feeding goes on when fewer chunks are in the pool
  bool fed = false;               ///< nothing more will be pulled

 private:
  const std::shared_ptr<Batch> batch_;
};

}  // namespace libpool::detail
