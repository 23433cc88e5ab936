/// What a helper thread does for a pool: a callback, or steps of an input.
///
/// Runs in the parent. Neighbours: batches and jobs are errands, helper threads perform them.
#pragma once

#include <exception>
#include <memory>

#include <libpool/detail/export.hpp>

namespace libpool::detail {

/// Part of what it is about, so that posting it takes no memory.
class LIBPOOL_EXPORT Errand {
 public:
  Errand() = default;
  Errand(const Errand&) = delete;
  Errand& operator=(const Errand&) = delete;

  virtual void perform() noexcept = 0;

  /// The pool has been terminated, for this reason, before the errand was done: perhaps even while
  /// it is performed.
  virtual void pool_terminated(const std::exception_ptr& /*reason*/) noexcept {}

  std::shared_ptr<Errand> behind;  ///< among those that were posted; for the helper threads

 protected:
  ~Errand() = default;
};

}  // namespace libpool::detail
