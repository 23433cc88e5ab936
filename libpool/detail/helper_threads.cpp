/// Threads for callbacks and lazy inputs: growing, idling, draining.
///
/// Runs in the parent. Nothing of a worker reaches here.
#include <libpool/detail/helper_threads.hpp>

#include <array>
#include <system_error>
#include <utility>

namespace libpool::detail {

thread_local HelperThreads* HelperThreads::of_this_thread = nullptr;

HelperThreads::Waiting::Waiting() noexcept {
  if (of_this_thread != nullptr) of_this_thread->begin_wait();
}

HelperThreads::Waiting::~Waiting() {
  if (of_this_thread != nullptr) of_this_thread->end_wait();
}

void HelperThreads::begin_wait() noexcept {
  std::lock_guard lock(mutex_);
  ++waiting_;
  // Posted when there were threads enough: now this one is not there for it.
  if (posted_.size() > idle_ && !stopped_ && may_start_thread()) (void)try_start_thread();
}

void HelperThreads::end_wait() noexcept {
  std::lock_guard lock(mutex_);
  --waiting_;
}

void HelperThreads::prepare() {
  std::lock_guard lock(mutex_);
  if (!stopped_ && helpers_.empty()) start_thread();
}

void HelperThreads::post(std::shared_ptr<Errand> errand) noexcept {
  std::exception_ptr terminated;
  const std::shared_ptr<Errand> same = errand;
  bool somebody_comes = false;
  {
    std::lock_guard lock(mutex_);
    terminated = terminated_;
    // An idle thread that is already meant for an earlier errand does not count.
    const bool needs_thread = posted_.size() >= idle_;
    somebody_comes = !stopped_ && (!needs_thread || (may_start_thread() && try_start_thread()) ||
                                   !helpers_.empty());
    if (somebody_comes) {
      posted_.push_back(std::move(errand));
      work_.notify_one();
    } else {
      ++running_;
    }
  }
  if (terminated != nullptr) same->pool_terminated(terminated);
  if (somebody_comes) return;
  same->perform();
  std::lock_guard lock(mutex_);
  --running_;
  if (posted_.empty() && running_ == 0) drained_.notify_all();
}

/// Throws `std::bad_alloc` and `std::system_error`. Called with the lock.
void HelperThreads::start_thread() {
  auto& helper = *helpers_.emplace_back(std::make_unique<Helper>());
  try {
    helper.thread = std::thread([this, &helper] { run(helper); });
  } catch (...) {
    helpers_.pop_back();
    throw;
  }
}

bool HelperThreads::try_start_thread() noexcept {
  try {
    start_thread();
    return true;
  } catch (...) {
    return false;  // no memory or no threads left in the system: those that are there must do
  }
}

void HelperThreads::run(Helper& self) {
  of_this_thread = this;
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_;
    work_.wait(lock, [this] { return stopped_ || !posted_.empty(); });
    --idle_;
    if (posted_.empty()) return;
    self.errand = posted_.pop_front();
    self.told = terminated_ != nullptr;  // by `terminate` or `post`
    ++running_;
    lock.unlock();
    self.errand->perform();
    lock.lock();
    std::shared_ptr<Errand> done = std::move(self.errand);
    lock.unlock();
    done = nullptr;  // its destructor may take locks
    lock.lock();
    --running_;
    if (posted_.empty() && running_ == 0) drained_.notify_all();
  }
}

void HelperThreads::terminate(const std::exception_ptr& reason) noexcept {
  std::array<std::shared_ptr<Errand>, 32> some;
  std::unique_lock lock(mutex_);
  terminated_ = reason;
  ++running_;  // nobody may take the row for empty meanwhile
  auto untold = std::move(posted_);
  while (true) {
    std::size_t count = 0;
    for (const auto& helper : helpers_) {
      if (count == some.size() || helper->errand == nullptr || helper->told) continue;
      helper->told = true;
      some[count++] = helper->errand;
    }
    while (count != some.size() && !untold.empty()) {
      some[count++] = untold.front();
      posted_.push_back(untold.pop_front());
    }
    work_.notify_all();
    if (count == 0) break;
    lock.unlock();
    for (std::size_t i = 0; i != count; ++i) {
      some[i]->pool_terminated(reason);
      some[i] = nullptr;
    }
    lock.lock();
  }
  --running_;
  if (posted_.empty() && running_ == 0) drained_.notify_all();
}

void HelperThreads::drain() {
  std::unique_lock lock(mutex_);
  drained_.wait(lock, [this] { return posted_.empty() && running_ == 0; });
}

void HelperThreads::stop() {
  const std::lock_guard stopping(stop_mutex_);
  drain();
  std::vector<std::unique_ptr<Helper>> ended;
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    ended.swap(helpers_);
  }
  work_.notify_all();
  for (auto& helper : ended) helper->thread.join();
}

std::size_t HelperThreads::count() const {
  std::lock_guard lock(mutex_);
  return helpers_.size();
}

}  // namespace libpool::detail
