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

namespace libpool::detail {

/// The chunk that this worker has claimed. The runner's shape:
///
///     read the callable from call();  (if that throws: fail_all)
///     while (next()) try { decode from item(); begin_run(); call; encode into result(); publish();
///     }
///                    catch (abi::__forced_unwind&) { leave_thread(); }
///                    catch (...) { fail(std::current_exception()); }
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

  /// The item's outcome is this exception; a result begun is taken back. Never throws.
  virtual void fail(std::exception_ptr error) noexcept = 0;

  /// The callable cannot be decoded: all items left have this outcome. Never throws.
  virtual void fail_all(std::exception_ptr error) noexcept = 0;

  /// A task called `pthread_exit`: ends this process like `_exit(0)`, a crash of the item.
  [[noreturn]] virtual void leave_thread() noexcept = 0;

 protected:
  ChunkContext() = default;
};

/// The type of the functions that tokens of `ChunkCodec::runner` name.
using ChunkRunner = void (*)(ChunkContext&);

}  // namespace libpool::detail
