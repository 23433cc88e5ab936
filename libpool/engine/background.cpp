/// The engine's own thread, which drives while nobody blocks. Runs in the parent; see the header.
#include <signal.h>

#include <algorithm>
#include <chrono>

#include <libpool/detail/system.hpp>
#include <libpool/engine/engine.hpp>

namespace libpool::engine {

using detail::system_calls;

namespace {

/// How long the thread stays out of the way of others that drive: twice as long each time that it
/// finds them still at it.
constexpr std::chrono::microseconds first_nap{100};
constexpr std::chrono::microseconds longest_nap{1600};

}  // namespace

/// The thread that drives while nobody blocks, for jobs that were submitted without waiting. While
/// others drive or often take outcomes in, it only looks now and then whether that is over: threads
/// that compete for the role, the lock, the heap and the CPUs cost more than they do.
void Engine::run_background() {
  Lock lock(mutex_);
  std::uint64_t seen = visits_;
  const auto flooded = [&] { return visits_ - seen > flood; };
  auto nap = first_nap;
  while (!background_stops_) {
    if (unattended_ == 0 && (driving_ || dispatcher_.spent_chunks() == 0)) {
      unattended_appeared_.wait(lock);
      seen = visits_;
    } else if (driving_ || flooded()) {
      napping_ = true;
      role_given_up_.wait(lock, [this] { return !driving_ || background_stops_; });
      seen = visits_;
      background_stopped_.wait_for(lock, nap, [this] { return background_stops_; });
      nap = std::min(2 * nap, longest_nap);
      napping_ = false;
    } else if (dispatcher_.spent_chunks() != 0) {
      destroy_spent(lock);  // what the submitters have left
    } else {
      seen = visits_;
      nap = first_nap;
      drive(
          lock, nullptr,
          [&] {
            const Lock look(mutex_);
            return background_stops_ || unattended_ == 0 || flooded();
          },
          std::nullopt);
    }
  }
}

void Engine::start_background() {
  if (background_.joinable()) return;
  // Signals are for the host's own threads to handle.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  system_calls.pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    background_ = std::thread([this] { run_background(); });
  } catch (...) {
    system_calls.pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
  system_calls.pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Engine::stop_background() {
  {
    const Lock lock(mutex_);
    background_stops_ = true;
    unattended_appeared_.notify_one();
    role_given_up_.notify_one();
    background_stopped_.notify_one();
    kick(lock);
  }
  if (background_.joinable()) background_.join();
}

}  // namespace libpool::engine
