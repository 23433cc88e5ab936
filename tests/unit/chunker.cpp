/// Facts about chunk sizes.
#include <libpool/submit/chunker.hpp>

#include <doctest/doctest.h>

using libpool::submit::automatic_chunk;
using libpool::submit::growing_chunk;

TEST_CASE("an automatic chunk is a quarter of a worker's share, rounded up") {
  CHECK(automatic_chunk(100, 4) == 7);
  CHECK(automatic_chunk(16, 4) == 1);
  CHECK(automatic_chunk(17, 4) == 2);
  CHECK(automatic_chunk(32, 4) == 2);
}

TEST_CASE("an automatic chunk holds at least one item, and has a bound") {
  CHECK(automatic_chunk(0, 4) == 1);
  CHECK(automatic_chunk(1, 4096) == 1);
  CHECK(automatic_chunk(5, 0) == 2);
  CHECK(automatic_chunk(static_cast<std::size_t>(-1), 1) ==
        libpool::submit::largest_automatic_chunk);
}

TEST_CASE("chunks of an input of unknown size grow with what has been pulled") {
  CHECK(growing_chunk(0, 2) == 1);
  CHECK(growing_chunk(7, 2) == 1);
  CHECK(growing_chunk(8, 2) == 2);
  CHECK(growing_chunk(8000, 2) == 1001);
}
