/// Facts about process identities. The first test comes before any call of the function in this
/// program.
#include <libpool/detail/process_identity.hpp>

#include <doctest/doctest.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include <libpool/detail/system.hpp>
#include <tests/support/oracle.hpp>

using libpool::detail::OwnProcess;
using libpool::detail::process_identity;
using libpool::detail::system_calls;

TEST_CASE("where the kernel cannot wipe pages, the pid is the identity") {
  CHECK(oracle::exit_of_child([] {
          system_calls.madvise = [](void*, std::size_t, int) {
            errno = EINVAL;
            return -1;
          };
          const std::uint64_t mine = process_identity();
          if (mine != static_cast<std::uint64_t>(::getpid())) return 1;
          const OwnProcess own;
          if (!own.here()) return 1;
          return oracle::exit_of_child(
              [&] { return process_identity() == mine || own.here() ? 1 : 0; });
        }) == 0);
}

TEST_CASE("an object knows the process that made it, and its children, whatever they have asked") {
  CHECK(oracle::exit_of_child([] {
          const OwnProcess own;
          if (!own.here()) return 1;
          const int asked_first = oracle::exit_of_child([&] { return own.here() ? 1 : 0; });
          const int has_identity = oracle::exit_of_child([&] {
            (void)process_identity();
            return own.here() || !OwnProcess().here() ? 1 : 0;
          });
          return asked_first + has_identity + (own.here() ? 0 : 1);
        }) == 0);
}

TEST_CASE("an identity stays the same in its process and differs in every forked one") {
  oracle::Fresh fresh;
  const std::uint64_t mine = process_identity();
  CHECK(mine != 0);
  CHECK(mine == process_identity());
  std::set<std::uint64_t> seen{mine};
  for (int child = 0; child < 20; ++child) {
    CHECK(oracle::exit_of_child([] {
            oracle::page.words[0] = static_cast<std::int64_t>(process_identity());
            // The next generation differs from all before.
            return oracle::exit_of_child([] {
              oracle::page.words[1] = static_cast<std::int64_t>(process_identity());
              return 0;
            });
          }) == 0);
    CHECK(seen.insert(static_cast<std::uint64_t>(oracle::page.words[0])).second);
    CHECK(seen.insert(static_cast<std::uint64_t>(oracle::page.words[1])).second);
  }
  CHECK(mine == process_identity());
}

TEST_CASE("threads that ask first at the same time agree") {
  CHECK(oracle::exit_of_child([] {
          std::atomic<bool> go{false};
          std::array<std::uint64_t, 4> seen{};
          std::vector<std::jthread> threads;
          for (auto& one : seen) {
            threads.emplace_back([&] {
              while (!go) {
              }
              one = process_identity();
            });
          }
          go = true;
          threads.clear();
          for (const auto one : seen) {
            if (one != process_identity()) return 1;
          }
          return 0;
        }) == 0);
}
