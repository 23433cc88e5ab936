/// ThreadPool: wiring of construction and destruction.
///
/// Runs in the parent.
#include <libpool/thread_pool.hpp>

#include <new>
#include <utility>

#include <libpool/detail/thread_core.hpp>

namespace libpool {

ThreadPool::ThreadPool(std::size_t workers, PoolOptions options) {
  detail::check_pool_arguments(workers, options);
  core_ = std::make_shared<detail::ThreadCore>(workers, std::move(options));
  core_->start();
}

ThreadPool::~ThreadPool() {
  if (!core_->in_own_process()) {
    // A forked copy has none of the threads, and locks in any state: it is left as it is.
    static_cast<void>(new (std::nothrow) std::shared_ptr<detail::ThreadCore>(std::move(core_)));
    return;
  }
  core_->terminate();
  core_->join();
}

detail::PoolCore& ThreadPool::core() const noexcept { return *core_; }
detail::Lookahead ThreadPool::lookahead() const noexcept { return core_->lookahead(); }
void ThreadPool::submit(std::shared_ptr<detail::ThreadJob> job) { core_->submit(job); }

}  // namespace libpool
