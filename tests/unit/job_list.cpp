/// Facts about the list of the jobs that a core knows.
#include <libpool/detail/job_list.hpp>

#include <doctest/doctest.h>

#include <set>
#include <thread>
#include <vector>

using namespace libpool::detail;

namespace {

struct Job : JobList<Job>::Link {
  explicit Job(int given) : number(given) {}
  int number;
  int heard = 0;
};

std::vector<std::shared_ptr<Job>> fill(JobList<Job>& list, int count) {
  std::vector<std::shared_ptr<Job>> jobs;
  for (int i = 0; i < count; ++i) {
    jobs.push_back(std::make_shared<Job>(i));
    list.add(jobs.back());
  }
  return jobs;
}

std::vector<int> numbers(const JobList<Job>& list) {
  std::vector<int> all;
  list.for_each([&](Job& job) { all.push_back(job.number); });
  return all;
}

}  // namespace

TEST_CASE("a job lives while it is listed, and is given back once") {
  JobList<Job> list;
  std::weak_ptr<Job> alive;
  Job* job = nullptr;
  {
    auto made = std::make_shared<Job>(7);
    alive = made;
    job = made.get();
    list.add(std::move(made));
  }
  REQUIRE_FALSE(alive.expired());
  CHECK(job->listed());
  CHECK(list.share(*job).get() == job);
  const auto last = list.remove(*job);
  CHECK(last.get() == job);
  CHECK_FALSE(job->listed());
  CHECK(list.remove(*job) == nullptr);
  CHECK(list.empty());
}

TEST_CASE("jobs leave from anywhere") {
  JobList<Job> list;
  auto jobs = fill(list, 5);
  for (const int leaves : {2, 0, 4}) CHECK(list.remove(*jobs[static_cast<std::size_t>(leaves)]));
  CHECK(numbers(list) == std::vector{1, 3});
  CHECK(list.size() == 2);
  list.add(jobs[0]);
  CHECK(numbers(list) == std::vector{1, 3, 0});
}

TEST_CASE("a list that ends lets its jobs go") {
  std::weak_ptr<Job> alive;
  {
    JobList<Job> list;
    alive = fill(list, 100)[50];
    CHECK(list.remove_first()->number == 0);
    CHECK(numbers(list).size() == 99);
    CHECK_FALSE(alive.expired());
  }
  CHECK(alive.expired());
}

TEST_CASE("each job hears of an end once, without the lock, and of one that overrules it again") {
  JobList<Job> list;
  const auto jobs = fill(list, 1000);
  std::mutex mutex;
  std::unique_lock lock(mutex);
  const auto tell = [&](const std::shared_ptr<Job>& job) {
    CHECK_FALSE(lock.owns_lock());
    ++job->heard;
  };
  list.tell_all(PoolEnd::broken, lock, tell);
  list.tell_all(PoolEnd::broken, lock, tell);
  for (const auto& job : jobs) CHECK(job->heard == 1);
  list.tell_all(PoolEnd::terminated, lock, tell);
  list.tell_all(PoolEnd::broken, lock, tell);
  for (const auto& job : jobs) CHECK(job->heard == 2);
  CHECK(lock.owns_lock());
}

TEST_CASE("jobs may leave while others are told, one by one or all at once") {
  JobList<Job> list;
  auto jobs = fill(list, 1000);
  std::mutex mutex;
  std::unique_lock lock(mutex);
  int told = 0;
  list.tell_all(PoolEnd::terminated, lock, [&](const std::shared_ptr<Job>& job) {
    const std::lock_guard again(mutex);
    (void)list.remove(*job);
    if (++told == 100) {
      while (!list.empty()) (void)list.remove_first();
      jobs.clear();
    }
  });
  CHECK(told >= 100);
  CHECK(told < 200);
  CHECK(list.empty());
}

TEST_CASE("two threads that tell of different ends leave nobody out") {
  for (int repetition = 0; repetition < 50; ++repetition) {
    JobList<Job> list;
    const auto jobs = fill(list, 300);
    std::mutex mutex;
    std::array<std::atomic<int>, 300> heard{};
    {
      std::jthread breaks([&] {
        std::unique_lock lock(mutex);
        list.tell_all(PoolEnd::broken, lock, [](const std::shared_ptr<Job>&) {});
      });
      std::unique_lock lock(mutex);
      list.tell_all(PoolEnd::terminated, lock, [&](const std::shared_ptr<Job>& job) {
        ++heard[static_cast<std::size_t>(job->number)];
      });
    }
    for (const auto& times : heard) REQUIRE(times == 1);
  }
}
