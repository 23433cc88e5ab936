/// A test as the one who inherits what its children leave behind.
///
/// Runs in the test.
#pragma once

#include <sys/prctl.h>

#include <tests/support/oracle.hpp>

namespace crash {

/// Orphans of the test's children become children of the test, as long as this lives.
class Subreaper {
 public:
  Subreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }
  Subreaper(const Subreaper&) = delete;
  Subreaper& operator=(const Subreaper&) = delete;
  ~Subreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, 0); }

  /// True once no descendant is left at all.
  [[nodiscard]] static bool all_gone() {
    return oracle::eventually([] {
      while (::waitpid(-1, nullptr, WNOHANG) > 0) {
      }
      return ::waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD;
    });
  }
};

}  // namespace crash
