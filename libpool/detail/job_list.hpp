/// The jobs that a core knows: in a list that takes no memory, in which each is its own link.
///
/// Runs in the parent, under the core's mutex. Neighbours: the cores of both pools. A worker's
/// death never reaches it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace libpool::detail {

/// What ends all jobs of a pool, in the order in which one overrules another.
enum class PoolEnd : std::uint8_t { none, broken, terminated };

/// Job derives from `JobList<Job>::Link` and lives while it is listed. Guarded by the core's mutex.
template <class Job>
class JobList {
 public:
  class Link {
   public:
    /// The last end that the job has heard of.
    [[nodiscard]] PoolEnd told() const noexcept { return told_; }
    [[nodiscard]] bool listed() const noexcept { return self_ != nullptr; }

   private:
    friend JobList;
    std::shared_ptr<Job> self_;
    Job* before_ = nullptr;
    Job* behind_ = nullptr;
    PoolEnd told_ = PoolEnd::none;
  };

  JobList() = default;
  JobList(const JobList&) = delete;
  JobList& operator=(const JobList&) = delete;
  ~JobList() {
    while (!empty()) (void)remove_first();
  }

  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  void add(std::shared_ptr<Job> job) noexcept {
    Job& added = *job;
    link_of(added).self_ = std::move(job);
    append(added);
    ++size_;
  }

  /// The list's reference, which may be the last one; null if the job is in no list, so that it
  /// must be in no other one.
  [[nodiscard]] std::shared_ptr<Job> remove(Job& job) noexcept {
    if (!job.listed()) return nullptr;
    take_out(job);
    --size_;
    return std::move(link_of(job).self_);
  }

  /// The same of the first one, of a list that is not empty.
  [[nodiscard]] std::shared_ptr<Job> remove_first() noexcept { return remove(*first_); }

  [[nodiscard]] std::shared_ptr<Job> share(Job& job) const noexcept { return link_of(job).self_; }

  template <class Visit>
  void for_each(Visit visit) const {
    for (Job* job = first_; job != nullptr; job = link_of(*job).behind_) visit(*job);
  }

  /// Calls `tell(job)` without the lock for each job that has not heard of this end yet: without
  /// memory, a few at a time, as many as the stack has room for. Called with the lock, once the
  /// core takes in no more jobs; meanwhile another thread may take jobs out.
  template <class Tell>
  void tell_all(PoolEnd end, std::unique_lock<std::mutex>& lock, Tell tell) noexcept {
    std::array<std::shared_ptr<Job>, 32> some;
    std::size_t count = 0;
    const auto tell_some = [&] {
      lock.unlock();
      for (std::size_t i = 0; i != count; ++i) {
        tell(some[i]);
        some[i] = nullptr;  // may be the last reference
      }
      count = 0;
      lock.lock();
    };
    // Each goes to the end of the list when it is looked at, so that the next one is found wherever
    // others leave. Two threads that do this may hide some from each other, but not for ever.
    for (bool any = true; any;) {
      any = false;
      for (std::size_t left = size_; left != 0 && first_ != nullptr; --left) {
        Job& job = *first_;
        take_out(job);
        append(job);
        if (job.told() >= end) continue;
        any = true;
        link_of(job).told_ = end;
        some[count++] = link_of(job).self_;
        if (count == some.size()) tell_some();
      }
      if (count != 0) tell_some();
    }
  }

 private:
  static Link& link_of(Job& job) noexcept { return job; }

  void append(Job& job) noexcept {
    link_of(job).before_ = last_;
    link_of(job).behind_ = nullptr;
    (last_ != nullptr ? link_of(*last_).behind_ : first_) = &job;
    last_ = &job;
  }

  void take_out(Job& job) noexcept {
    const Link& link = job;
    (link.before_ != nullptr ? link_of(*link.before_).behind_ : first_) = link.behind_;
    (link.behind_ != nullptr ? link_of(*link.behind_).before_ : last_) = link.before_;
  }

  Job* first_ = nullptr;
  Job* last_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace libpool::detail
