/// What the tests of unusual hosts and of limits share: a child of the test in the host's place,
/// and what it does with a pool.
///
/// Runs in children of the test; their exit status is the verdict.
#pragma once

#include <algorithm>
#include <string>
#include <system_error>
#include <vector>

#include "matrix.hpp"
#include "tasks.hpp"

namespace crash {

/// What a host's exit status says.
enum HostVerdict { all_right = 0, wrong = 41, not_permitted = 42 };

inline std::vector<char> copy_of(std::vector<char> bytes) { return bytes; }

/// Whether `call` throws an `Error`.
template <class Error, class Call>
bool throws(Call call) {
  try {
    call();
  } catch (const Error&) {
    return true;
  }
  return false;
}

/// Results, a death, its replacement, a timeout, and a payload with memory of its own. Whether all
/// of it was as it should.
inline bool serves(libpool::ProcessPool& pool) {
  const auto right = [&] {
    const auto results = pool.map(twice, numbers(50));
    return results.size() == 50 && results[49] == 98;
  };
  const std::vector<char> large(100'000, 'x');
  // The first call drives in this thread, the second in one of the pool's.
  return right() && pool.map_async(twice, numbers(50)).get()[49] == 98 &&
         throws<libpool::WorkerCrashed>([&] {
           pool.apply([]() -> int {
             ::raise(SIGSEGV);
             ::_exit(3);
           });
         }) &&
         right() && throws<libpool::TaskTimeout>([&] {
           pool.map(
               [](int) -> int {
                 for (;;) ::pause();
               },
               numbers(1), {.timeout = std::chrono::milliseconds{2}});
         }) &&
         pool.apply(copy_of, large) == large && right();
}

/// A pool from its construction to its end, both ways.
inline bool serves_and_ends() {
  {
    libpool::ProcessPool pool(2, small_options());
    if (!serves(pool)) return false;
    pool.close();
    pool.join();
  }
  libpool::ProcessPool pool(2, small_options());
  return serves(pool);
}

/// The same, of which any call may fail as the contract has it: only a wrong value is wrong.
template <class Construct>
bool serves_or_fails(Construct construct) {
  try {
    auto pool = construct();
    for (int round = 0; round < 3; ++round) {
      try {
        if (!serves(*pool)) return false;
      } catch (const libpool::PoolError&) {
      } catch (const std::system_error&) {
      } catch (const std::bad_alloc&) {
      }
    }
  } catch (const libpool::PoolError&) {
  } catch (const std::system_error&) {
  } catch (const std::bad_alloc&) {
  }
  return true;
}

}  // namespace crash
