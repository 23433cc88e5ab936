/// The core of a thread pool: its queue, its worker threads, and the feeding of batches.
///
/// Runs in the parent. Neighbours: the typed calls submit jobs, worker threads run their chunks,
/// helper threads pull lazy inputs and run callbacks. A crash in a task is the program's.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include <libpool/detail/batch.hpp>
#include <libpool/detail/chain.hpp>
#include <libpool/detail/helper_threads.hpp>
#include <libpool/detail/stream_store.hpp>
#include <libpool/detail/thread_job.hpp>
#include <libpool/detail/thread_run.hpp>
#include <libpool/options.hpp>
#include <libpool/supervise/restart_policy.hpp>

namespace libpool::detail {

/// Lock order: mutex_, then a worker's `timing`. No lock is held while user code or a batch's
/// method that is not a leaf runs; destructors of jobs and chunks are user code.
class ThreadCore final : public PoolCore, private Timekeeper {
 public:
  ThreadCore(std::size_t workers, PoolOptions options);

  /// Starts the workers. Throws `std::system_error`, having ended those that it had started.
  void start();

  /// Takes a job in; feeds it here if its caller blocks anyway. Throws `PoolClosed`, `PoolBroken`.
  void submit(const std::shared_ptr<ThreadJob>& job);

  bool wait(Batch& batch, const std::function<bool()>& ready, Deadline deadline) override;
  void notify() noexcept override {}  // waiters sleep on their batch
  void room_appeared(Batch& batch) noexcept override;
  bool cancel(Batch& batch) override;
  void call_back(std::shared_ptr<Errand> callback) noexcept override {
    helpers_.post(std::move(callback));
  }
  [[nodiscard]] std::size_t size() const noexcept override { return size_; }
  [[nodiscard]] PoolStats stats() override;
  void close() override;
  void terminate() override;
  void join() override;

  /// Feeds the job until there is no room or no more input.
  void feed(const std::shared_ptr<ThreadJob>& job);

  /// Chunks of one job that may be in the pool or wait for the consumer.
  [[nodiscard]] Lookahead lookahead() const noexcept { return lookahead_; }

 private:
  using Finished = std::shared_ptr<ThreadJob>;  ///< a job that left; destroyed without the lock
  using Chunk = std::unique_ptr<ThreadChunk>;
  using Workers = Chain<std::shared_ptr<ThreadWorker>>;

  // -- feeding (thread_core.cpp) -----------------------------------------------------------------
  void start_feeding(const std::shared_ptr<ThreadJob>& job);
  [[nodiscard]] bool may_feed(ThreadJob& job);
  [[nodiscard]] bool feed_chunk(const std::shared_ptr<ThreadJob>& job);
  void enqueue(Chunk chunk) noexcept;
  void finish_feeding(ThreadJob& job) noexcept;
  void finish_chunk(ThreadJob& job) noexcept;
  void leave_if_over(ThreadJob& job) noexcept;
  [[nodiscard]] Finished release_if_over(ThreadJob& job) noexcept;
  void break_pool(std::unique_lock<std::mutex>& lock, const char* what,
                  const std::exception_ptr& cause) noexcept;
  void end_all(std::unique_lock<std::mutex>& lock, PoolEnd end,
               const std::exception_ptr& reason) noexcept;
  void forget_queued(const ThreadChunk& chunk) noexcept;

  // -- workers (thread_workers.cpp) --------------------------------------------------------------
  void work(const std::shared_ptr<ThreadWorker>& self);
  [[nodiscard]] bool initialize();
  [[nodiscard]] Chunk next_chunk(std::size_t tasks_left);
  [[nodiscard]] Chunk take_chunk(std::size_t tasks_left) noexcept;
  [[nodiscard]] bool run_chunk(ThreadWorker& self, const ThreadChunk& chunk) noexcept;
  [[nodiscard]] bool replace(const std::shared_ptr<ThreadWorker>& self) noexcept;
  void start_worker(std::size_t index);
  void stop_workers() noexcept;
  [[nodiscard]] std::jthread take_thread() noexcept;
  [[nodiscard]] bool workers_end() const noexcept { return stopping_ || terminated_ || broken_; }

  // -- timeouts (thread_timeouts.cpp) ------------------------------------------------------------
  void expect(Clock::time_point deadline) noexcept override;
  void keep_time();
  [[nodiscard]] std::optional<Clock::time_point> take_away_overdue(
      std::unique_lock<std::mutex>& lock) noexcept;
  void take_away(std::size_t number, std::unique_lock<std::mutex>& lock) noexcept;
  void start_missing(std::unique_lock<std::mutex>& lock, Clock::time_point now) noexcept;
  void leave_overdue(const std::shared_ptr<ThreadWorker>& self) noexcept;

  // Immutable after construction.
  const std::size_t size_;
  const PoolOptions options_;
  const Lookahead lookahead_;
  const std::size_t most_chunks_;  ///< of one job, queued or running
  // What ends jobs also when there is no memory to make another.
  const std::exception_ptr task_cancelled_;
  const std::exception_ptr pool_terminated_;
  const std::exception_ptr no_memory_;  ///< a `PoolBroken`

  ThreadCounts counts_;
  HelperThreads helpers_;
  std::mutex join_mutex_;  // one `join` ends the threads; taken before mutex_

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  Chain<Chunk> queue_;
  JobList<ThreadJob> jobs_;                             ///< not yet fed, or with chunks in the pool
  std::vector<std::shared_ptr<ThreadWorker>> workers_;  ///< by number; null: could not be started
  Workers overdue_;          ///< replaced, but still in a task that timed out
  Workers ended_;            ///< about to return; to be joined
  std::jthread timekeeper_;  ///< runs once a timeout was asked for
  supervise::RestartPolicy restarts_;
  std::uint64_t resolved_before_ = 0;                      ///< items, at the last failed start
  Clock::time_point retry_at_ = Clock::time_point::max();  ///< of workers that could not be started
  std::size_t idle_ = 0;                                   ///< workers that wait for the queue
  std::size_t ending_ = 0;                                 ///< threads in `end_all`
  bool closed_ = false;
  bool terminated_ = false;
  bool stopping_ = false;
  std::exception_ptr broken_;
  std::condition_variable work_;       ///< the queue has something, or workers end
  std::condition_variable room_;       ///< a job has fewer chunks, for callers that feed
  std::condition_variable over_;       ///< a job has left, for `join`
  std::condition_variable deadlines_;  ///< for the timekeeper
  std::condition_variable pause_;      ///< workers end, for those that pause after a failed start

  std::atomic<Clock::rep> next_wake_{Clock::time_point::max().time_since_epoch().count()};
};

}  // namespace libpool::detail
