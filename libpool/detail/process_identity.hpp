/// A number that tells whether this is still the process that it was read in.
///
/// Runs in every process that the library or its host forks. Pools remember the identity of their
/// maker and refuse to work elsewhere. A death leaves nothing: the memory behind it is private.
#pragma once

#include <atomic>
#include <cstdint>

#include <libpool/detail/export.hpp>

namespace libpool::detail {

/// Never zero, the same for the life of a process, and different in every process forked from it.
/// Costs one load, because the kernel wipes the number on fork (where it cannot: one `getpid`).
/// Thread-safe; may be called between fork and the worker's main.
[[nodiscard]] LIBPOOL_EXPORT std::uint64_t process_identity() noexcept;

/// The process that made this object. Thread-safe.
class LIBPOOL_EXPORT OwnProcess {
 public:
  OwnProcess() noexcept;

  /// Whether the calling process is that one: asked for each item that somebody takes, and so
  /// without a call.
  [[nodiscard]] bool here() const noexcept {
    if (word_ == nullptr) return process_identity() == identity_;
    return word_->load() == identity_;
  }

 private:
  std::uint64_t identity_;
  const std::atomic<std::uint64_t>* word_;  ///< its identity; null where the kernel cannot wipe it
};

}  // namespace libpool::detail
