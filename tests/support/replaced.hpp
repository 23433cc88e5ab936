/// Makes one system call of the table do something else for as long as an object lives.
///
/// Runs in the test's own process, while no other thread uses the library; forked children inherit
/// the replacement.
#pragma once

#include <libpool/detail/system.hpp>

namespace libpool::testing {

template <class Entry>
class Replaced {
 public:
  Replaced(Entry& entry, Entry by) : entry_(entry), before_(entry) { entry = by; }
  Replaced(const Replaced&) = delete;
  Replaced& operator=(const Replaced&) = delete;
  ~Replaced() { entry_ = before_; }

 private:
  Entry& entry_;
  Entry before_;
};

}  // namespace libpool::testing
