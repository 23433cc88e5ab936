/// The word that the kernel marks when a worker dies, before it takes the process apart.
///
/// In the lane: armed by the worker, marked by the kernel, watched by the spare worker. Taking down
/// the page tables of a large process takes tens of milliseconds, and only then does `waitid` know
/// of the death; this word is marked before, when the last instruction of the thread has run.
#pragma once

#include <linux/futex.h>
#include <pthread.h>

#include <atomic>
#include <cstdint>

namespace libpool::ring {

/// A robust mutex that its owner takes once and nobody else ever does: the only way to a place in
/// the list that the kernel goes through at a thread's death which leaves those of the tasks their
/// own places.
class DeathWord {
 public:
  /// Worker: from now on, the end of the calling thread marks the word and wakes a waiter.
  void arm() noexcept;

  /// To wait at, as a futex shared by processes, while it has this value.
  [[nodiscard]] std::uint32_t value() const noexcept {
    return __atomic_load_n(word(), __ATOMIC_ACQUIRE);
  }
  [[nodiscard]] const std::uint32_t* word() const noexcept {
    return reinterpret_cast<const std::uint32_t*>(&mutex_.__data.__lock);
  }

  /// A hint, like all that workers write: whoever sees it asks the kernel.
  [[nodiscard]] static bool marked(std::uint32_t value) noexcept {
    return (value & FUTEX_OWNER_DIED) != 0;
  }

 private:
  pthread_mutex_t mutex_;
};

}  // namespace libpool::ring
