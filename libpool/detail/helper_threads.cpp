/// Threads for callbacks and lazy inputs: growing, idling, draining.
///
/// Runs in the parent. Nothing of a worker reaches here.
#include <libpool/detail/helper_threads.hpp>

#include <system_error>
#include <utility>

namespace libpool::detail {

void HelperThreads::prepare() {
  std::lock_guard lock(mutex_);
  if (!stopped_ && threads_.empty()) threads_.emplace_back([this] { run(); });
}

void HelperThreads::post(std::shared_ptr<Errand> errand) noexcept {
  {
    std::lock_guard lock(mutex_);
    // An idle thread that is already meant for an earlier errand does not count.
    const bool needs_thread = posted_.size() >= idle_;
    const bool somebody_comes =
        !stopped_ &&
        (!needs_thread || (threads_.size() < limit_ && start_thread()) || !threads_.empty());
    if (somebody_comes) {
      posted_.push_back(std::move(errand));
      work_.notify_one();
      return;
    }
    ++running_;
  }
  errand->perform();
  std::lock_guard lock(mutex_);
  --running_;
  if (posted_.empty() && running_ == 0) drained_.notify_all();
}

bool HelperThreads::start_thread() noexcept {
  try {
    threads_.emplace_back([this] { run(); });
    return true;
  } catch (...) {
    return false;  // no memory or no threads left in the system: those that are there must do
  }
}

void HelperThreads::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_;
    work_.wait(lock, [this] { return stopped_ || !posted_.empty(); });
    --idle_;
    if (posted_.empty()) return;
    std::shared_ptr<Errand> errand = posted_.pop_front();
    ++running_;
    lock.unlock();
    errand->perform();
    errand = nullptr;  // its destructor may take locks
    lock.lock();
    --running_;
    if (posted_.empty() && running_ == 0) drained_.notify_all();
  }
}

void HelperThreads::drain() {
  std::unique_lock lock(mutex_);
  drained_.wait(lock, [this] { return posted_.empty() && running_ == 0; });
}

void HelperThreads::stop() {
  const std::lock_guard stopping(stop_mutex_);
  drain();
  std::vector<std::thread> ended;
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    ended.swap(threads_);
  }
  work_.notify_all();
  for (auto& thread : ended) thread.join();
}

std::size_t HelperThreads::count() const {
  std::lock_guard lock(mutex_);
  return threads_.size();
}

}  // namespace libpool::detail
