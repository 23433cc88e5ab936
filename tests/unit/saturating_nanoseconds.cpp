/// Facts about timeouts made from any duration.
#include <libpool/saturating_nanoseconds.hpp>

#include <doctest/doctest.h>

#include <limits>

#include <libpool/options.hpp>

using namespace std::chrono_literals;
using libpool::SaturatingNanoseconds;
using std::chrono::nanoseconds;

TEST_CASE("what fits is kept exactly") {
  CHECK(SaturatingNanoseconds(5s) == 5'000'000'000ns);
  CHECK(SaturatingNanoseconds(-3ms) == -3'000'000ns);
  CHECK(SaturatingNanoseconds(nanoseconds::max() - 1ns) == nanoseconds::max() - 1ns);
  CHECK(SaturatingNanoseconds(nanoseconds::min()) == nanoseconds::min());
}

TEST_CASE("what does not fit saturates") {
  CHECK(SaturatingNanoseconds(std::chrono::hours::max()) == nanoseconds::max());
  CHECK(SaturatingNanoseconds(std::chrono::hours::min()) == nanoseconds::min());
  CHECK(SaturatingNanoseconds(std::chrono::duration<double>(1e300)) == nanoseconds::max());
  CHECK(SaturatingNanoseconds(std::chrono::duration<double>(
            -std::numeric_limits<double>::infinity())) == nanoseconds::min());
}

TEST_CASE("a positive timeout never becomes none") {
  CHECK(SaturatingNanoseconds(std::chrono::duration<double, std::nano>(0.25)) == 1ns);
  CHECK(SaturatingNanoseconds(std::chrono::duration<double, std::nano>(-0.25)) == 0ns);
  CHECK(SaturatingNanoseconds(
            std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN())) == 0ns);
}

TEST_CASE("options take any duration by a designated initialiser") {
  CHECK(libpool::MapOptions{.timeout = std::chrono::hours::max()}.timeout == nanoseconds::max());
  CHECK(libpool::ImapOptions{.timeout = 1.5s}.timeout == 1500ms);
  CHECK(libpool::ApplyOptions<int>{.timeout = 2min, .retries = 1}.timeout == 120s);
}

TEST_CASE("a deadline does not overflow") {
  using Clock = std::chrono::steady_clock;
  const auto now = Clock::now();
  CHECK(libpool::saturating_after<Clock>(now, nanoseconds::max()) == Clock::time_point::max());
  CHECK(libpool::saturating_after<Clock>(now, 5s) == now + 5s);
  CHECK(libpool::saturating_after<Clock>(now, nanoseconds::min()) < now);
}
