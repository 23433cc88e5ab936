/// A lock that costs the one thread which takes it again and again a few plain instructions, and no
/// atomic ones.
///
/// Runs in the parent, between threads: it is in this folder because memory orders are. Neighbours:
/// the consumers of a stream. A process that forked has a copy that nobody can open, and touches
/// none.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include <libpool/detail/export.hpp>

namespace libpool::ring {

/// A mutex until one thread has taken it very often. That one is then favoured, until another one
/// comes: from then on the lock is a mutex for good. The other one asks the kernel for a fence in
/// all running threads (`membarrier`, Linux 4.14; some 20 us on a busy machine, and in a process
/// with threads the first question costs some ms, once); without that call nobody is favoured.
/// (The idea is that of biased locking in virtual machines: Kawachiya, Koseki and Onodera, 2002.)
class LIBPOOL_EXPORT BiasedLock {
 public:
  /// Locks after which a thread is favoured, if it was the only one.
  static constexpr std::size_t often = 4096;

  BiasedLock() = default;
  BiasedLock(const BiasedLock&) = delete;
  BiasedLock& operator=(const BiasedLock&) = delete;

  void lock() {
    const std::uint64_t self = this_thread();
    if (favoured_.load(std::memory_order_relaxed) == self && enter()) {
      by_bias_ = true;
    } else {
      lock_mutex(self);
    }
  }

  void unlock() noexcept {
    if (by_bias_) {
      by_bias_ = false;
      // Release: what was done inside is visible to whoever has waited for it; pairs with
      // `unfavour`.
      inside_.store(false, std::memory_order_release);
    } else {
      mutex_.unlock();
    }
  }

 private:
  /// Never the same of two threads, nor zero. (A thread may have several, one in each module.)
  static std::uint64_t this_thread() noexcept {
    static constinit thread_local std::uint64_t number = 0;
    if (number == 0) [[unlikely]]
      number = next_thread();
    return number;
  }
  static std::uint64_t next_thread() noexcept;

  /// For the favoured thread; false if it is so no more.
  bool enter() noexcept {
    inside_.store(true, std::memory_order_relaxed);
    // The processor may still look below before others see the store: what keeps the order is the
    // fence that `unfavour` has the kernel make in this thread. This one is for the compiler.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (!shared_.load(std::memory_order_relaxed)) [[likely]]
      return true;
    // Release, as in `unlock`.
    inside_.store(false, std::memory_order_release);
    return false;
  }

  void lock_mutex(std::uint64_t self);
  void unfavour() noexcept;

  std::mutex mutex_;
  // Guarded by mutex_.
  std::uint64_t last_ = 0;  ///< the thread that had the mutex last
  std::size_t locks_ = 0;   ///< of that thread, one after the other

  std::atomic<std::uint64_t> favoured_{0};  ///< a thread; changes under mutex_, from nobody
  std::atomic<bool> shared_{false};         ///< changes under mutex_, once
  /// Written by the favoured thread only: also while it finds out that it is so no more, when
  /// another one may hold the mutex.
  std::atomic<bool> inside_{false};

  bool by_bias_ = false;  ///< guarded by the lock itself: how its holder came in
};

}  // namespace libpool::ring
