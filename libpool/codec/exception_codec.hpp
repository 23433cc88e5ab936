/// Exceptions between processes: what a task throws becomes a record, and the record an exception
/// again.
///
/// `encode_exception` runs in a worker, `decode_exception` in the parent, on bytes of a process
/// that may have gone wrong. Neighbours: the task runner and the collector. A death here leaves an
/// unpublished record.
///
/// A record: the row's key, the name of the thrown type, the text of `what()`, the row's state,
/// each as a 64-bit count and its bytes; then a byte that tells whether the record of its cause
/// follows.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <exception>

#include <libpool/codec/payload.hpp>
#include <libpool/detail/export.hpp>

namespace libpool::codec {

/// Causes of causes travel to this depth.
inline constexpr std::size_t max_causes = 64;

/// Writes the record of `error`, which is not null. It allocates next to nothing, so that a
/// `bad_alloc` can be told of. Throws only what the writer throws.
LIBPOOL_EXPORT void encode_exception(PayloadWriter& out, std::exception_ptr error);

/// The exception of a record, thrown by item `index` in process `pid`: of its own type where that
/// is a standard one, the library's or registered, else a `TaskError`; also a `RemoteOrigin`, and a
/// `std::nested_exception` where it had a cause. Of bytes that are no record, a
/// `SerializationError`. Never throws.
[[nodiscard]] LIBPOOL_EXPORT std::exception_ptr decode_exception(PayloadReader in, pid_t pid,
                                                                 std::size_t index) noexcept;

}  // namespace libpool::codec
