/// Facts about the books on a batch and its chunks.
#include <libpool/submit/job.hpp>

#include <doctest/doctest.h>

using libpool::submit::Chunk;
using libpool::submit::Job;

TEST_CASE("a job is over when its input has ended and every item pulled is settled") {
  Job job;
  CHECK_FALSE(job.over());
  job.input_ended = true;
  CHECK(job.over());
  job.pulled = 2;
  job.settled = 1;
  CHECK_FALSE(job.over());
  job.settled = 2;
  CHECK(job.over());
  job.input_ended = false;
  CHECK_FALSE(job.over());
}

TEST_CASE("an abandoned job is over at once, but never while a thread feeds it") {
  Job job;
  job.pulled = 5;
  job.feeding = true;
  job.abandoned = true;
  CHECK_FALSE(job.over());
  job.feeding = false;
  CHECK(job.over());
}

TEST_CASE("items of a chunk count from its first one") {
  Chunk chunk;
  chunk.first_index = 1000;
  chunk.end = 3;
  CHECK(chunk.index_of(2) == 1002);
  CHECK_FALSE(chunk.settled());
  chunk.next = 3;
  CHECK(chunk.settled());
}
