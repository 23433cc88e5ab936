/// What a process holds, so that a test can tell whether it holds more afterwards.
///
/// Runs in the test's own process and reads /proc/self only.
#pragma once

#include <set>
#include <string>

namespace libpool::testing {

/// Names of everything that must not outlive a test case. Heap memory is not counted: an allocator
/// keeps what it has been given.
struct Footprint {
  std::set<std::string> children;     ///< "child 4711 (name)"
  std::set<std::string> threads;      ///< "thread 4711 (name)"
  std::set<std::string> descriptors;  ///< "descriptor 3 -> socket"
  std::multiset<std::string> shared;  ///< memfd mappings, by name
  std::set<std::string> dev_shm;      ///< files in /dev/shm that belong to this user

  [[nodiscard]] static Footprint now();

  /// What `now()` has and this does not, one name after the other; empty if there is nothing.
  [[nodiscard]] std::string growth() const;
};

/// `before.growth()`, after what is about to end has had the time to.
[[nodiscard]] std::string settled_growth(const Footprint& before);

/// What the process holds now is no leak of the test case that runs: for a test of what stays, such
/// as the server of `prefork()`.
void accept_footprint();

}  // namespace libpool::testing
