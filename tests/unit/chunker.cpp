/// Facts about chunk sizes.
#include <libpool/submit/chunker.hpp>

#include <doctest/doctest.h>

using libpool::submit::automatic_chunk;
using libpool::submit::growing_chunk;

TEST_CASE("an automatic chunk is a quarter of a worker's share, rounded up") {
  CHECK(automatic_chunk(100, 0, 4) == 7);
  CHECK(automatic_chunk(16, 0, 4) == 1);
  CHECK(automatic_chunk(17, 0, 4) == 2);
  CHECK(automatic_chunk(32, 0, 4) == 2);
}

TEST_CASE("an automatic chunk holds at least one item, and has a bound") {
  CHECK(automatic_chunk(0, 0, 4) == 1);
  CHECK(automatic_chunk(1, 0, 4096) == 1);
  CHECK(automatic_chunk(5, 0, 0) == 2);
  CHECK(automatic_chunk(static_cast<std::size_t>(-1), 0, 1) ==
        libpool::submit::largest_automatic_chunk);
}

TEST_CASE("later chunks are shares of what is left, down to a sixteenth of the first") {
  CHECK(automatic_chunk(1600, 0, 2) == 200);
  CHECK(automatic_chunk(1600, 200, 2) == 175);
  CHECK(automatic_chunk(1600, 1590, 2) == 12);
  CHECK(automatic_chunk(1600, 1600, 2) == 12);
  CHECK(automatic_chunk(1600, 5000, 2) == 12);
  CHECK(automatic_chunk(8, 7, 1) == 1);
}

TEST_CASE("chunks of an input of unknown size grow with what has been pulled") {
  CHECK(growing_chunk(0, 2) == 1);
  CHECK(growing_chunk(7, 2) == 1);
  CHECK(growing_chunk(8, 2) == 2);
  CHECK(growing_chunk(8000, 2) == 1001);
}

TEST_CASE("a bundle takes about the time that is wanted, and grows with what has been pulled") {
  using libpool::submit::bundle;
  using namespace std::chrono_literals;
  CHECK(bundle(0ns, 20us, 10'000, 2) == 1);
  CHECK(bundle(1us, 20us, 10'000, 2) == 20);
  CHECK(bundle(20us, 20us, 10'000, 2) == 1);
  CHECK(bundle(1s, 20us, 10'000, 2) == 1);
  CHECK(bundle(1ns, 20us, 10'000, 2) == 64);
  CHECK(bundle(1ns, 20us, 30, 2) == 4);
  CHECK(bundle(1ns, 0ns, 10'000, 2) == 1);
}
