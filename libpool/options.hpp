/// Every bound and choice of the library, as flat aggregates for designated initialisers.
///
/// Runs in the parent. Nothing here is shared with a worker; the pool copies what its processes
/// need.
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <optional>
#include <vector>

#include <libpool/detail/export.hpp>
#include <libpool/saturating_nanoseconds.hpp>

namespace libpool {

/// The CPUs that this process may use: by its affinity mask and its cgroup's quota, rounded up; at
/// least one. Thread-safe.
[[nodiscard]] LIBPOOL_EXPORT std::size_t available_parallelism();

/// Options of a pool, fixed at its construction. The first three are the ones that programs set;
/// the others are the library's bounds, each with its unit and the reason for its default.
struct PoolOptions {
  /// Runs once in each worker (replacements too) before its first task. What it throws counts
  /// as a failed start, see `restart_intensity`; the exception becomes `PoolBroken::cause()`.
  std::function<void()> initializer = nullptr;

  /// A worker is replaced after this many tasks (items, never chunks). Unset: never.
  /// Zero throws `std::invalid_argument`.
  std::optional<std::size_t> max_tasks_per_child = std::nullopt;

  /// Bytes of address space that a worker may map beyond what it starts with (`RLIMIT_AS`), its
  /// initializer included, and arguments that get memory of their own (see `task_memory`). Past it,
  /// allocations in tasks throw `std::bad_alloc`. `ThreadPool` ignores it.
  std::optional<std::size_t> memory_limit = std::nullopt;

  /// Chunks that can be published to the workers at once; rounded up to a power of two, and to at
  /// least four a worker. 256 keep two workers busy for the time of one wake-up of the parent.
  std::size_t task_slots = 256;

  /// Bytes of the shared memory in which task payloads lie; it grows to this bound on demand and
  /// keeps its pages for reuse. A payload larger than a quarter of it gets memory of its own while
  /// it is needed, and so does one without room while a worker has nothing to do. 128 MiB hold a
  /// few hundred typical chunks, and several of 16 MiB.
  std::size_t task_memory = std::size_t{128} << 20;

  /// Bytes of each worker's result ring, at most; rounded up to a power of two, at least 4 KiB and
  /// at most 1 GiB. It begins with a quarter of them, 4 KiB at least, and grows for a worker whose
  /// results are larger than a quarter of that. Results larger than the ring are streamed through
  /// it. 128 KiB stay in a CPU's second-level cache; of 512 KiB a worker can fill a part while the
  /// parent has others to do.
  std::size_t result_ring = std::size_t{512} << 10;

  /// Largest single result in bytes; a larger one becomes a `SerializationError` of its item.
  /// Guards the parent against a runaway worker.
  std::size_t max_result_size = std::size_t{16} << 30;

  /// Bytes of encoded arguments that may wait in the parent and in shared memory before feeding
  /// pauses. The memory of all payloads is bounded by this plus one chunk a job. `apply_async`
  /// never pauses. Each job also pauses where it has three chunks and 256 KiB a worker in the pool:
  /// what is written further ahead leaves the caches before it is read.
  std::size_t max_payload_in_flight = std::size_t{256} << 20;

  /// Bytes of memory that large results were received in and that the pool keeps for the next ones,
  /// because fresh memory costs several times what the copy into it does. 128 MiB, as
  /// `task_memory`.
  std::size_t result_memory = std::size_t{128} << 20;

  /// Bytes of freed memory that a worker keeps for its next task, because fresh pages cost several
  /// times what filling them does. 64 MiB hold what a task of moderate size needs.
  std::size_t worker_memory = std::size_t{64} << 20;

  /// Chunks of one job that may be in the pool, or finished and not yet taken by the caller. It
  /// bounds the look-ahead of lazy inputs. Unset: as many as `task_slots`, fewer of chunks that are
  /// large (8192 items in all, but four chunks a worker). Of results that are a few plain bytes
  /// each it is twice that, and where such items lie in a contiguous container, whose look-ahead
  /// nobody sees, as many chunks as that allows: threads that wake each other less often are
  /// faster.
  std::optional<std::size_t> window = std::nullopt;

  /// With a chunk size of one, short items whose arguments and results are copied as bits and lie
  /// in a contiguous container are handed to a worker several at once: as many as take about so
  /// long, 64 at most. A worker begins them one by one, each with the function as it was sent; what
  /// it has not begun after ten times this long is taken back and handed out one by one. Items that
  /// wait for each other may then wait for ever, as soon as each worker is at one whose other lies
  /// behind it: they need zero, which is never. Negative, and more than a second, throws
  /// `std::invalid_argument`. 20 us are little beside a wake-up, and a hundred times what handing
  /// over costs. `ThreadPool` ignores it.
  SaturatingNanoseconds bundle_time = std::chrono::microseconds{20};

  /// Deaths of workers before their first claim that are tolerated within `restart_period` while no
  /// item is resolved; one more breaks the pool. Unset: 16 + 2 a worker, so that a pool
  /// whose idle workers are all killed once recovers.
  std::optional<std::size_t> restart_intensity = std::nullopt;

  /// The period of `restart_intensity`.
  SaturatingNanoseconds restart_period = std::chrono::seconds{10};

  /// Longest pause before a worker that failed to start is started again; the pause begins at 1 ms
  /// and doubles with each failure.
  SaturatingNanoseconds restart_backoff = std::chrono::milliseconds{100};

  /// When so many workers in a row have died while they held a chunk, and no item of it was begun
  /// or settled in between, its next item is blamed: a chunk that no worker survives would go on
  /// for ever. Zero throws `std::invalid_argument`. 64 such deaths are no chance.
  std::size_t unexplained_deaths = 64;

  /// Threads of the parent that may run callbacks and pull lazy inputs at once. They are started
  /// when needed; past the bound a slow callback delays others. Those that wait for a job of a pool
  /// do not count.
  std::size_t helper_threads = 256;

  /// Whether a crashing worker writes a core file. Off by default: dumping delays the notice
  /// of a death by seconds.
  bool core_dumps = false;
};

/// Options of `map`, `starmap`, `try_map` and `try_starmap`.
struct MapOptions {
  /// Items that travel together. Unset: chosen by the pool. Zero throws `std::invalid_argument`.
  std::optional<std::size_t> chunksize = std::nullopt;
  /// Per item, from the start of its decoding. Zero: none; negative throws `std::invalid_argument`.
  SaturatingNanoseconds timeout{};
  /// Extra attempts for an item whose worker crashed. Each begins when the kernel has ended the
  /// crashed process, and with it its locks and ports.
  std::size_t retries = 0;
};

/// Options of `imap`, `imap_unordered`, `try_imap` and `try_imap_unordered`.
struct ImapOptions {
  /// Items that travel together. Unset: one. Zero throws `std::invalid_argument`.
  std::optional<std::size_t> chunksize = std::nullopt;
  /// Per item, from the start of its decoding. Zero: none; negative throws `std::invalid_argument`.
  SaturatingNanoseconds timeout{};
  /// Extra attempts for an item whose worker crashed.
  std::size_t retries = 0;
  /// At most this many items are pulled from the input and not yet taken by the caller; no chunk is
  /// larger. Zero throws `std::invalid_argument`. Unset: see
  /// `PoolOptions::window`.
  std::optional<std::size_t> buffersize = std::nullopt;
};

namespace detail {

/// A function that takes the result of a job: nothing for `void`.
template <class R>
struct CallbackOf {
  using one = std::function<void(const R&)>;
  using all = std::function<void(const std::vector<R>&)>;
};
template <>
struct CallbackOf<void> {
  using one = std::function<void()>;
  using all = std::function<void()>;
};

}  // namespace detail

/// Options of `map_async` and `starmap_async`; R is the result of one item.
///
/// Exactly one of the callbacks is called, once, on a thread of the parent, before waiters wake
/// (after `terminate()` waiters do not wait for it). It may use the pool; `join()`, or `get()` and
/// `wait()` on its own handle, throw `std::logic_error` in it. What it throws becomes the outcome
/// of its handle.
template <class R>
struct MapAsyncOptions {
  /// Items that travel together. Unset: chosen by the pool. Zero throws `std::invalid_argument`.
  std::optional<std::size_t> chunksize = std::nullopt;
  /// Per item, from the start of its decoding. Zero: none; negative throws `std::invalid_argument`.
  SaturatingNanoseconds timeout{};
  /// Extra attempts for an item whose worker crashed.
  std::size_t retries = 0;
  /// Takes all results, in input order.
  typename detail::CallbackOf<R>::all callback = nullptr;
  /// Takes the error that `get()` would throw.
  std::function<void(std::exception_ptr)> error_callback = nullptr;
};

/// Options of `apply_async`; R is the result. For callbacks see `MapAsyncOptions`.
template <class R>
struct ApplyOptions {
  /// From the start of the decoding. Zero: none; negative throws `std::invalid_argument`.
  SaturatingNanoseconds timeout{};
  /// Extra attempts if the worker crashed.
  std::size_t retries = 0;
  /// Takes the result.
  typename detail::CallbackOf<R>::one callback = nullptr;
  /// Takes the error that `get()` would throw.
  std::function<void(std::exception_ptr)> error_callback = nullptr;
};

}  // namespace libpool
