/// A number that tells whether this is still the process that it was read in.
///
/// Runs in every process that the library or its host forks. Pools remember the identity of their
/// maker and refuse to work elsewhere. A death leaves nothing: the memory behind it is private.
#pragma once

#include <cstdint>

namespace libpool::detail {

/// Never zero, the same for the life of a process, and different in every process forked from it.
/// Costs one load, because the kernel wipes the number on fork (where it cannot: one `getpid`).
/// Thread-safe; may be called between fork and the worker's main.
[[nodiscard]] std::uint64_t process_identity() noexcept;

}  // namespace libpool::detail
