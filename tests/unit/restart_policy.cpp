/// Facts about the restart policy: how many failures it bears, and for how long it pauses.
#include <libpool/supervise/restart_policy.hpp>

#include <doctest/doctest.h>

#include <vector>

using libpool::supervise::RestartPolicy;
using namespace std::chrono_literals;
using Clock = RestartPolicy::Clock;

namespace {

constexpr Clock::time_point start = Clock::time_point{} + 1000h;

}  // namespace

TEST_CASE("as many failures as the intensity are borne, one more is too many") {
  for (const std::size_t intensity : {0u, 1u, 5u, 20u}) {
    RestartPolicy policy(intensity, 10s, 100ms);
    for (std::size_t failure = 0; failure < intensity; ++failure) {
      CHECK(policy.failed(start + failure * 1ms));
    }
    CHECK_FALSE(policy.failed(start + 1s));
  }
}

TEST_CASE("failures count for a period and not longer") {
  RestartPolicy policy(2, 10s, 100ms);
  CHECK(policy.failed(start));
  CHECK(policy.failed(start + 1s));
  CHECK(policy.failed(start + 10s + 1ns));
  CHECK(policy.failed(start + 11s + 1ns));
  CHECK_FALSE(policy.failed(start + 12s));
}

TEST_CASE("a failure exactly one period ago still counts") {
  RestartPolicy policy(1, 10s, 100ms);
  CHECK(policy.failed(start));
  CHECK_FALSE(policy.failed(start + 10s));
}

TEST_CASE("an item resolved forgives all failures before it") {
  RestartPolicy policy(2, 10s, 100ms);
  for (int round = 0; round < 10; ++round) {
    CHECK(policy.failed(start));
    CHECK(policy.failed(start));
    policy.resolved();
  }
  CHECK(policy.failed(start));
  CHECK(policy.failed(start));
  CHECK_FALSE(policy.failed(start));
}

TEST_CASE("the pause is none at first, then 1 ms, then doubles up to the longest") {
  RestartPolicy policy(100, 10s, 10ms);
  std::vector<std::chrono::nanoseconds> pauses;
  for (int failure = 0; failure < 8; ++failure) pauses.push_back(*policy.failed(start) - start);
  CHECK(pauses == std::vector<std::chrono::nanoseconds>{0ns, 1ms, 2ms, 4ms, 8ms, 10ms, 10ms, 10ms});
  policy.resolved();
  CHECK(*policy.failed(start) == start);
  CHECK(*policy.failed(start) == start + 1ms);
}

TEST_CASE("a longest pause below the first bounds that too") {
  RestartPolicy policy(100, 10s, 100us);
  CHECK(*policy.failed(start) == start);
  for (int failure = 0; failure < 3; ++failure) CHECK(*policy.failed(start) == start + 100us);
}

TEST_CASE("periods and pauses without end are no trouble") {
  RestartPolicy policy(70, std::chrono::nanoseconds::max(), std::chrono::nanoseconds::max());
  Clock::time_point last = start;
  for (int failure = 0; failure < 70; ++failure) {
    const auto when = policy.failed(start);
    REQUIRE(when);
    CHECK(*when >= last);
    last = *when;
  }
  CHECK_FALSE(policy.failed(start + 1000h));
}
