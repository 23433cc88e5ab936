/// What the library throws, what a caller learns about an error that happened elsewhere, and how an
/// exception of the program's own keeps its type on the way from a worker.
///
/// Objects live in the process that throws them. Exceptions of tasks cross from a worker to the
/// parent by `codec/exception_codec.hpp`; a worker's death becomes a `WorkerCrashed` made in the
/// parent.
#pragma once

#include <system_error>

#include <libpool/codec/exception_table.hpp>
#include <libpool/detail/error_types.hpp>

namespace libpool {

/// From now on, an `E` that a task throws is rethrown in the parent as an `E` (and a
/// `RemoteOrigin`), not as a `TaskError`. To be called before the pool is made, or before
/// `prefork`; again is harmless.
///
/// `E` is matched by the exact type that was thrown. It is not final, and constructible from `const
/// std::string&` (it then gets what `what()` said) or by default; a Boost.Serialization `serialize`
/// carries its members. The rethrown object's `what()` is the original's, whatever `E` makes of it,
/// so `E::what` is not final. If its `serialize` throws, the error arrives as a `TaskError` with
/// its text. Thread-safe.
template <class E>
void register_exception() {
  codec::register_exception_type(codec::exception_type<E>);
}

/// From now on, error codes of this category, which lives as long as the program, come back from
/// tasks in it. (Of an unregistered category, other than the standard ones, codes come back with
/// their number, in a category that has the same name and is another object.) Categories are told
/// apart by name; of one name the last registered is taken. Throws `std::bad_alloc`. Thread-safe.
inline void register_error_category(const std::error_category& category) {
  codec::register_category(category);
}

}  // namespace libpool
