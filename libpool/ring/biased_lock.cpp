/// The slow ways through a biased lock. Run in the parent; see the header.
#include <libpool/ring/biased_lock.hpp>

#include <linux/membarrier.h>
#include <sys/prctl.h>

#include <thread>
#include <utility>

#include <libpool/detail/system.hpp>

namespace libpool::ring {

using detail::system_calls;

namespace {

/// A filter of system calls may kill those that try one it does not know.
bool filtered() noexcept { return system_calls.prctl(PR_GET_SECCOMP, 0) != 0; }

/// Whether all threads of this process can be made to pass a fence.
bool can_fence_others() noexcept {
  return !filtered() && system_calls.membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
}

/// When this returns, every running thread of the process has passed a fence.
void fence_others() noexcept {
  if (!filtered() && system_calls.membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0) return;
  // A filter that came after the first question. Whoever runs is interrupted several times
  // meanwhile, and an interrupt is such a fence.
  constexpr timespec several_ticks{.tv_sec = 0, .tv_nsec = 50'000'000};
  system_calls.nanosleep(&several_ticks, nullptr);
}

}  // namespace

std::uint64_t BiasedLock::next_thread() noexcept {
  static constinit std::atomic<std::uint64_t> last{0};
  return ++last;
}

void BiasedLock::lock_mutex(std::uint64_t self) {
  std::unique_lock lock(mutex_);
  if (!shared_.load(std::memory_order_relaxed)) {
    if (favoured_.load(std::memory_order_relaxed) != 0) {
      unfavour();
    } else if (std::exchange(last_, self) != self) {
      locks_ = 0;
    } else if (++locks_ == often && can_fence_others()) {
      favoured_.store(self, std::memory_order_relaxed);
      // Nobody else can make the lock a shared one before it has the mutex.
      if (enter()) {
        by_bias_ = true;
        return;
      }
    }
  }
  lock.release();
}

/// Called with the mutex, which the favoured thread does not need. Afterwards all need it.
void BiasedLock::unfavour() noexcept {
  shared_.store(true, std::memory_order_relaxed);
  fence_others();
  // The favoured thread has either seen the word above, or what it wrote before it looked is
  // visible here. Acquire: pairs with `unlock`.
  while (inside_.load(std::memory_order_acquire)) std::this_thread::yield();
}

}  // namespace libpool::ring
