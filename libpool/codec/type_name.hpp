/// The names of types as a programmer writes them.
///
/// Runs in both processes, wherever an error names a type. Nothing is shared; a death here leaves
/// nothing.
#pragma once

#include <string>
#include <typeinfo>

#include <libpool/detail/export.hpp>

namespace libpool::codec {

/// The demangled name; the mangled one if it cannot be demangled.
[[nodiscard]] LIBPOOL_EXPORT std::string type_name(const std::type_info& type);

template <class T>
[[nodiscard]] std::string type_name() {
  return type_name(typeid(T));
}

}  // namespace libpool::codec
