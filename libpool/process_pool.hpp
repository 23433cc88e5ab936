/// ① ProcessPool: a pool of worker processes with the interface of Python's
/// `multiprocessing.pool.Pool`.
///
/// Runs in the parent. Thin templates: they pack the call and its input and hand both to the core.
/// A worker's death costs the item that it was running and nothing else.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include <libpool/detail/pool_calls.hpp>
#include <libpool/detail/process_core.hpp>
#include <libpool/detail/process_task.hpp>
#include <libpool/options.hpp>

namespace libpool {

/// Workers are processes, forked by a server process that the constructor forks: a task may crash,
/// hang or exhaust its memory without harm to the program. A few milliseconds later the server
/// forks one more, a spare that takes the place of the next worker that dies. All members are
/// thread-safe.
///
/// Tasks see the program's memory as it was when the pool was made (with `prefork()`: when that was
/// called): later changes to globals, and libraries loaded later, are not visible to them. What a
/// task changes, no other process sees; its result is all that comes back. File descriptors that
/// the program had open are open in workers too; standard input is `/dev/null`.
///
/// A pool made in a program that already has threads forks all the same. Locks that other threads
/// hold at that moment stay locked in the workers for ever, so a task that takes one hangs (glibc
/// mends its own: malloc and stdio are safe). Call `prefork()` early in `main`, before threads, to
/// be sure.
///
/// Functions: a function pointer, a lambda or function object without state, one that is trivially
/// copyable and of standard layout, one with a Boost.Serialization `serialize`, or `partial`. A
/// pointer inside a capture or a class cannot be detected: it would point into the worker's own
/// copy of old memory.
///
/// Values: what the codec knows, see the README. Not the container adaptors (`std::stack`,
/// `std::queue`, `std::priority_queue`), `std::valarray`, and smart pointers to arrays; values nest
/// at most 1000 levels deep. Of a final class only a public `serialize` is seen. An aggregate with
/// const members travels only if it is trivially copyable. An `error_code` comes back in its own
/// category if that is a standard one or registered with `register_error_category`. What a result's
/// destructor does in the worker happens after the result has been handed over: a death there
/// blames nobody.
///
/// While a pool exists, it holds 2 descriptors a worker, 3 while the kernel ends one, and about 10
/// more. In any process but the one that made it, every member throws `PoolError` and the
/// destructor does nothing.
class ProcessPool : public detail::PoolCalls<ProcessPool> {
 public:
  /// Starts `workers` processes. Throws `std::invalid_argument` (none, more than 4096, options out
  /// of range) and `std::system_error` (memory, descriptors or the fork server could not be had).
  explicit ProcessPool(std::size_t workers = available_parallelism(), PoolOptions options = {})
      : lookahead_(detail::lookahead_for(options, workers)),
        core_(detail::ProcessCore::start(workers, options)) {}

  /// `terminate()` and `join()`.
  ~ProcessPool() { detail::end_pool(std::move(core_)); }

  ProcessPool(const ProcessPool&) = delete;
  ProcessPool& operator=(const ProcessPool&) = delete;

 private:
  friend class detail::PoolCalls<ProcessPool>;

  [[nodiscard]] detail::PoolCore& core() const {
    // None yet: this is a worker's copy of the pool that it works for.
    if (core_ == nullptr) detail::PoolCore::refuse_process();
    return *core_;
  }
  [[nodiscard]] detail::Lookahead lookahead() const noexcept { return lookahead_; }

  template <class F, class Source>
  static constexpr void check_task() {
    detail::check_process_task<F, Source>();
  }

  template <class F, class Source, class Store>
  void start(F f, Source source, std::shared_ptr<Store> store) {
    auto codec = std::make_unique<detail::TypedChunkCodec<F, Source, Store>>(
        std::move(f), std::move(source), store, core_->modules());
    core_->submit(std::move(store), std::move(codec));
  }

  const detail::Lookahead lookahead_;
  std::shared_ptr<detail::ProcessCore> core_;
};

}  // namespace libpool
