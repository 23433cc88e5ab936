/// What the typed runner of a chunk asks of the worker that runs it.
///
/// Runs in a worker. The typed runner (a template named by a function token) calls it; the task
/// runner in `worker/` implements it over the task payload, the progress word and the result ring.
/// A death in any call leaves the progress word naming at most one item.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>

#include <libpool/codec/function_token.hpp>
#include <libpool/codec/payload.hpp>
#include <libpool/ring/progress_word.hpp>
#include <libpool/this_worker.hpp>

namespace libpool::detail {

/// The chunk that this worker has claimed. The runner's shape:
///
///     read the callable from call();  (if that throws: fail_all)
///     while (next()) try { decode from item(); begin_run(); call; encode into result(); publish();
///     }
///                    catch (abi::__forced_unwind&) { leave_thread(); }
///                    catch (...) { fail(std::current_exception()); }
///
/// Where arguments and results are bits of fixed sizes, and `in_runs()`:
///
///     while (auto run = next_run(...); run.items != 0) for (each item of it) {
///       if (bundled() && !take()) break;
///       begin_in_run(item); decode from items(); call; copy the result to its place; }
///     and what the call throws goes to fail_in_run.
class ChunkContext {
 public:
  virtual ~ChunkContext() = default;

  /// The modules by which function tokens are resolved in this process.
  [[nodiscard]] virtual const codec::ModuleMap& modules() const noexcept = 0;

  /// The encoded callable and its bound values.
  [[nodiscard]] virtual codec::PayloadReader call() = 0;

  /// Goes on to the next item (phase: decode); false when there is none or the worker has to
  /// retire.
  [[nodiscard]] virtual bool next() = 0;

  /// The bytes of the current item.
  [[nodiscard]] virtual codec::PayloadReader item() = 0;

  /// The arguments are decoded (phase: run).
  virtual void begin_run() = 0;

  /// The function has returned (phase: encode); the result goes into the writer.
  [[nodiscard]] virtual codec::PayloadWriter& result() = 0;

  /// The result is complete: one store makes it visible to the parent.
  virtual void publish() = 0;

  /// Consecutive items whose results lie side by side, in one piece of the result ring.
  struct Run {
    std::byte* results = nullptr;  ///< place of the first one's
    std::uint32_t item = 0;        ///< the first; items count from the start of the payload
    std::uint32_t items = 0;       ///< zero: there is none, or the worker has to retire
  };

  /// Whether this chunk's results may come in runs: not where an item may be stopped by itself.
  [[nodiscard]] virtual bool in_runs() const noexcept = 0;

  /// Publishes what is left of the run before, of which `done` items are complete, and opens one
  /// for the items after it, with `result_size` bytes for each.
  [[nodiscard]] virtual Run next_run(std::uint32_t done, std::size_t result_size) = 0;

  /// The encoded items, from the first of the chunk on.
  [[nodiscard]] virtual codec::PayloadReader items() = 0;

  /// Whether each item is a chunk by itself: it is to have the function as it was sent, and has to
  /// be taken before it begins.
  [[nodiscard]] bool bundled() const noexcept { return bundled_; }

  /// Takes the next item of a bundle; false if the parent has taken back what was left.
  [[nodiscard]] virtual bool take() noexcept = 0;

  /// The item begins (phase: run). This publishes the result of the one before it in the run.
  void begin_in_run(std::uint32_t item) {
    task_index_.set(first_index_ + item);
    if (eager_) {
      begin_eagerly(item);
    } else {
      progress_.enter({ticket_, item, ring::Phase::run});
    }
  }

  /// The outcome of the run's item number `done` is this exception. Never throws.
  virtual void fail_in_run(std::uint32_t done, std::exception_ptr error) noexcept = 0;

  /// The item's outcome is this exception; a result begun is taken back. Never throws.
  virtual void fail(std::exception_ptr error) noexcept = 0;

  /// The callable cannot be decoded: all items left have this outcome. Never throws.
  virtual void fail_all(std::exception_ptr error) noexcept = 0;

  /// A task called `pthread_exit`: ends this process like `_exit(0)`, a crash of the item.
  [[noreturn]] virtual void leave_thread() noexcept = 0;

 protected:
  ChunkContext(ring::ProgressWord& progress, std::uint64_t ticket, std::uint64_t first_index,
               bool eager, bool bundled) noexcept
      : progress_(progress),
        ticket_(ticket),
        first_index_(first_index),
        eager_(eager),
        bundled_(bundled) {}

  /// As `begin_in_run`, for results that somebody waits for one by one.
  virtual void begin_eagerly(std::uint32_t item) = 0;

  ring::ProgressWord& progress_;
  const std::uint64_t ticket_;
  const std::uint64_t first_index_;  ///< place in the batch of item 0
  const bool eager_;
  const bool bundled_;
  ring::TaskIndex& task_index_ = process_task_index();
};

/// The type of the functions that tokens of `ChunkCodec::runner` name.
using ChunkRunner = void (*)(ChunkContext&);

}  // namespace libpool::detail
