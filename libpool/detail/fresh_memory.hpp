/// Memory that nobody has touched yet, before it is filled.
///
/// Runs in the parent and in workers, for results and arguments that are large. A death changes
/// nothing here.
#pragma once

#include <cstddef>

#include <libpool/detail/export.hpp>

namespace libpool::detail {

/// Gets the pages of memory that is about to be written from the kernel in one call, where there
/// are many that are not there yet, and huge ones if it can: one by one, each by a fault of its
/// own, they cost about as much as filling them twice more. Pages that are there but shared with a
/// forked child are left to their faults. Changes no byte; a kernel that cannot do it (before Linux
/// 5.14) changes nothing at all.
LIBPOOL_EXPORT void populate(void* memory, std::size_t bytes) noexcept;

}  // namespace libpool::detail
