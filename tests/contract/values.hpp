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

/// The value, sent as an argument and sent back as a result, on its own and as the middle element
/// of a `map`.
template <class Pool, class T>
void check_travels(Pool& pool, const T& value) {
  CHECK(pool.apply(identity<T>, value) == value);
  const std::vector<T> values(3, value);
  CHECK(pool.map(identity<T>, values, {.chunksize = 2}) == values);
}

}  // namespace contract
