/// Facts about where a task is.
#include <libpool/this_worker.hpp>

#include <libpool/ring/progress_word.hpp>

#include <doctest/doctest.h>

#include <thread>

using namespace libpool;

TEST_CASE("outside a worker there is no place") {
  CHECK(this_worker::index() == std::nullopt);
  CHECK(this_worker::task_index() == std::nullopt);
}

TEST_CASE("a thread of a pool has a place of its own, within a worker process too") {
  std::thread([] {
    detail::thread_place() = {.worker = 3, .task = 7};
    CHECK(this_worker::index() == 3);
    CHECK(this_worker::task_index() == 7);
    detail::thread_place().task = detail::WorkerPlace::none;
    CHECK(this_worker::task_index() == std::nullopt);
  }).join();
  CHECK(this_worker::index() == std::nullopt);
}

// The last test: this process stays a worker.
TEST_CASE("all threads of a worker process are in it, whatever place the forking thread had") {
  detail::thread_place() = {.worker = 3, .task = 7};
  detail::become_process_worker(5);
  CHECK(this_worker::index() == 5);
  CHECK(this_worker::task_index() == std::nullopt);
  detail::process_task_index().set(9);
  std::thread([] {
    CHECK(this_worker::index() == 5);
    CHECK(this_worker::task_index() == 9);
    detail::thread_place() = {.worker = 1, .task = 2};
    CHECK(this_worker::index() == 1);
  }).join();
}
