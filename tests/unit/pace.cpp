/// Facts about the pace of workers, which decides whether their driver may nap.
#include <libpool/submit/pace.hpp>

#include <doctest/doctest.h>

using libpool::submit::Pace;
using namespace std::chrono_literals;

TEST_CASE("the time for chunks is the mean of the last ones, shared by the workers") {
  Pace pace;
  CHECK(pace.time_for(100, 2) == 0ns);
  pace.update(8'000, 8);
  CHECK(pace.time_for(1, 1) == 1us);
  CHECK(pace.time_for(100, 2) == 50us);
  pace.update(8'000 + 10 * 3'000, 18);
  CHECK(pace.time_for(10, 1) == 30us);
}

TEST_CASE("few chunks are no sample") {
  Pace pace;
  pace.update(8'000, 8);
  pace.update(1'000'000, 15);
  CHECK(pace.time_for(1, 1) == 1us);
  pace.update(8'000 + 8 * 500, 16);
  CHECK(pace.time_for(2, 1) == 1us);
}

TEST_CASE("a worker that was replaced spoils one sample at most") {
  Pace pace;
  pace.update(80'000, 8);
  pace.update(5'000, 16);
  CHECK(pace.time_for(1, 1) == 10us);
  pace.update(5'000 + 8 * 2'000, 24);
  CHECK(pace.time_for(1, 1) == 2us);
}

TEST_CASE("whatever workers claim, the time is one") {
  Pace pace;
  pace.update(UINT64_MAX, 8);
  CHECK(pace.time_for(std::size_t{1} << 20, 1) > 0ns);
}
