/// Facts about the books on a batch and its chunks.
#include <libpool/submit/job.hpp>

#include <doctest/doctest.h>

using libpool::submit::Chunk;
using libpool::submit::Job;
using libpool::submit::Parcel;

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
  const auto parcel = Parcel::make(std::make_shared<Job>(), 1);
  const auto owner = parcel->add();
  Chunk& chunk = *owner;
  chunk.first_index = 1000;
  chunk.end = 3;
  CHECK(chunk.index_of(2) == 1002);
  CHECK_FALSE(chunk.settled());
  chunk.next = 3;
  CHECK(chunk.settled());
}

TEST_CASE("a parcel holds its job until the last of its chunks and its maker have let go") {
  for (const bool maker_is_last : {false, true}) {
    CAPTURE(maker_is_last);
    auto job = std::make_shared<Job>();
    const std::weak_ptr<Job> alive = job;
    auto parcel = Parcel::make(std::move(job), 5);
    std::vector<Chunk::Owner> chunks;
    for (int i = 0; i < 3; ++i) chunks.push_back(parcel->add());
    CHECK(chunks[0]->payload == chunks[2]->payload);
    CHECK(chunks[0]->job == alive.lock());
    if (!maker_is_last) parcel = nullptr;
    chunks[1] = nullptr;
    chunks[0] = nullptr;
    CHECK_FALSE(alive.expired());
    chunks[2] = nullptr;
    CHECK(alive.expired() != maker_is_last);
    parcel = nullptr;
    CHECK(alive.expired());
  }
}
