/// A round trip of one value through both pools' workers, for the files on the types that travel.
///
/// Runs in the test; `identity` runs in workers of both pools.
#pragma once

#include "contract.hpp"

namespace contract {

template <class T>
T identity(const T& value) {
  return value;
}

/// The value, sent as an argument and sent back as a result: first, last and alone in its chunk.
/// (One call does, because calls do not differ in how values travel, and each costs the compiler
/// dearly.)
template <class Pool, class T>
void check_travels(Pool& pool, const T& value) {
  const std::vector<T> values(3, value);
  const bool travels = pool.map(identity<T>, values, {.chunksize = 2}) == values;
  CHECK(travels);
}

}  // namespace contract
