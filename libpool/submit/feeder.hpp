/// ④ The feeder: pulls items from a batch's input and encodes them, a few chunks at a time.
///
/// Runs in the parent, on the batch's feeding thread and without any lock, because it runs the
/// user's iterators and encoders. Before it: the calls of the pool; behind it: the dispatcher. No
/// worker knows of a chunk yet.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>

#include <libpool/submit/job.hpp>

namespace libpool::submit {

/// What one step of feeding gave.
struct Fed {
  Chunks chunks;                ///< none if no item could be encoded
  bool wanted = true;           ///< false: the batch wants no chunk now
  std::size_t first_index = 0;  ///< place in the batch of the first item pulled
  std::size_t pulled = 0;       ///< items, those that failed included; failed ones come last
  std::size_t failed = 0;       ///< of those, items whose outcome is `error`
  std::exception_ptr error = nullptr;
  bool ended = false;                        ///< the input has ended
  std::exception_ptr input_error = nullptr;  ///< what the input threw, if that ended it
};

/// Takes steps of the batch: pulls and encodes at most so many chunks into one payload, which ends
/// early when it grows. Never throws.
[[nodiscard]] Fed feed(const std::shared_ptr<Job>& job, std::size_t most_chunks,
                       PayloadMemory& memory) noexcept;

}  // namespace libpool::submit
