/// Sleeping and waking with futexes that are shared between processes. Runs in workers and in the
/// parent; see the header.
#include <libpool/ring/event_count.hpp>

#include <unistd.h>

#include <cerrno>

#include <libpool/detail/system.hpp>

namespace libpool::ring {

using detail::system_calls;

namespace {

constexpr int lost_doorbell_status = 72;

}  // namespace

static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t) &&
              std::atomic<std::uint32_t>::is_always_lock_free);

// Modelled in tests/model/pool.pml as the last step of park.
void ParkWord::sleep(State state) noexcept {
  const auto expected = static_cast<std::uint32_t>(state);
  const auto* word = reinterpret_cast<const std::uint32_t*>(&word_);
  // Whatever ends the system call, only the parent's exchange ends the sleep. Acquire: pairs with
  // `wake`.
  while (word_.load(std::memory_order_acquire) == expected) {
    system_calls.futex_wait(word, expected, nullptr);
  }
  stay();
}

// Modelled in tests/model/pool.pml as a step of refill.
bool ParkWord::wake(State state) noexcept {
  // The fence orders the caller's change before the look; pairs with `announce`.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  auto expected = static_cast<std::uint32_t>(state);
  if (word_.load(std::memory_order_relaxed) != expected) return false;
  if (!word_.compare_exchange_strong(expected, static_cast<std::uint32_t>(State::notified),
                                     std::memory_order_acq_rel, std::memory_order_relaxed)) {
    return false;
  }
  system_calls.futex_wake(reinterpret_cast<const std::uint32_t*>(&word_), 1);
  return true;
}

// Modelled in tests/model/pool.pml as ring.
void Doorbell::ring() noexcept {
  const std::uint32_t sleep = waiting_->sleeping();
  if (sleep == 0 || sleep == rung_) return;
  rung_ = sleep;
  const char byte = 1;
  const auto written =
      detail::retry_interrupted([&] { return system_calls.write(write_end_, &byte, 1); });
  // A task has closed our end of the pipe. What has been published is safe, but nobody would hear
  // of it; the notice of this death is heard.
  if (written < 0 && errno != EAGAIN) ::_exit(lost_doorbell_status);
}

}  // namespace libpool::ring
