/// The byte-level core of a process pool, as the typed calls see it.
///
/// Runs in the parent. Before it: `ProcessPool`'s templates, which only pack; behind it: the engine
/// that feeds, collects and supervises. Deaths of workers are settled behind this interface.
#pragma once

#include <cstddef>
#include <memory>

#include <libpool/codec/function_token.hpp>
#include <libpool/detail/batch.hpp>
#include <libpool/detail/chunk_codec.hpp>
#include <libpool/detail/export.hpp>
#include <libpool/options.hpp>

namespace libpool::detail {

class LIBPOOL_EXPORT ProcessCore : public PoolCore {
 public:
  /// Starts the fork server and the workers. Throws `std::system_error` (no memory, descriptors or
  /// processes) and `std::invalid_argument` (options out of range).
  [[nodiscard]] static std::shared_ptr<ProcessCore> start(std::size_t workers,
                                                          const PoolOptions& options);

  /// Takes the batch in. Throws `PoolClosed`, `PoolBroken`, and `std::system_error` if a thread is
  /// needed and cannot be started.
  virtual void submit(std::shared_ptr<Batch> batch, std::unique_ptr<ChunkCodec> codec) = 0;

  /// The modules in which workers find functions. Lives as long as the core.
  [[nodiscard]] virtual const codec::ModuleMap& modules() const noexcept = 0;
};

/// What a pool's destructor does: `terminate()` and `join()`; nothing in a process other than the
/// one that made it, whose copies of threads and locks nobody may touch.
LIBPOOL_EXPORT void end_pool(std::shared_ptr<ProcessCore> core) noexcept;

}  // namespace libpool::detail
