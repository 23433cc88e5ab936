/// Contract: payloads of hundreds of megabytes travel through a `ProcessPool`, one at a time and
/// whole.
///
/// Runs in the test; the tasks run in worker processes. A test of its own: it needs 6 GiB of
/// memory.
#include "contract.hpp"

#include <sys/time.h>

#include <cstring>

using namespace contract;

namespace {

using Bytes = std::vector<std::byte>;

/// Bytes that differ from page to page, so that a lost or a swapped one shows.
Bytes pattern(std::size_t size) {
  Bytes bytes(size);
  for (std::size_t at = 0; at + sizeof(std::size_t) <= size; at += 4096)
    std::memcpy(&bytes[at], &at, sizeof at);
  return bytes;
}
bool is_pattern(const Bytes& bytes) {
  for (std::size_t at = 0; at + sizeof(std::size_t) <= bytes.size(); at += 4096) {
    if (std::memcmp(&bytes[at], &at, sizeof at) != 0) return false;
  }
  return true;
}
std::size_t checked_size(const Bytes& bytes) { return is_pattern(bytes) ? bytes.size() : 0; }

constexpr std::size_t mega = std::size_t{1} << 20;

}  // namespace

TEST_CASE("an argument of 300 MB arrives whole") {
  ProcessPool pool(2);
  CHECK(pool.apply(checked_size, pattern(300 * mega)) == 300 * mega);
}

TEST_CASE("a result of 300 MB comes back whole") {
  ProcessPool pool(2);
  const Bytes back = pool.apply(pattern, 300 * mega);
  CHECK(back.size() == 300 * mega);
  CHECK(is_pattern(back));
}

TEST_CASE("an argument of 1 GiB arrives whole") {
  ProcessPool pool(1);
  CHECK(pool.apply(checked_size, pattern(1024 * mega)) == 1024 * mega);
}

TEST_CASE("a result of 1 GiB comes back whole") {
  ProcessPool pool(1);
  const Bytes back = pool.apply(pattern, 1024 * mega);
  CHECK(back.size() == 1024 * mega);
  CHECK(is_pattern(back));
}

TEST_CASE("a large payload does not stay in the parent after its call") {
  ProcessPool pool(1);
  pool.apply(checked_size, pattern(mega));
  const std::size_t before = oracle::resident_bytes();
  CHECK(pool.apply(checked_size, pattern(300 * mega)) == 300 * mega);
  CHECK(pool.apply(pattern, 300 * mega).size() == 300 * mega);
  // A sanitizer keeps freed memory in quarantine.
  if (!oracle::sanitized) CHECK(oracle::resident_bytes() < before + 100 * mega);
}

TEST_CASE("a worker that dies of a large argument harms nothing") {
  ProcessPool pool(1);
  const auto die = [](const Bytes&) -> int { ::_exit(3); };
  CHECK_THROWS_AS(pool.apply(die, pattern(100 * mega)), libpool::WorkerCrashed);
  CHECK(pool.apply(checked_size, pattern(100 * mega)) == 100 * mega);
}

TEST_CASE("a large argument is there again for another attempt") {
  oracle::Fresh fresh;
  ProcessPool pool(1);
  const auto die_once = [](const Bytes& bytes) {
    if (++oracle::page.words[0] == 1) ::_exit(3);
    return checked_size(bytes);
  };
  CHECK(pool.apply_async(die_once, std::tuple(pattern(100 * mega)), {.retries = 1}).get() ==
        100 * mega);
}

TEST_CASE("a worker that dies while its result is on its way is to blame, and another sends it") {
  oracle::Fresh fresh;
  ProcessPool pool(1);
  const auto die_once = [](std::size_t size) {
    Bytes bytes = pattern(size);
    // The alarm comes while the result is sent, which takes several times as long.
    const itimerval soon{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_usec = 5000}};
    if (++oracle::page.words[0] == 1) ::setitimer(ITIMER_REAL, &soon, nullptr);
    return bytes;
  };
  const Bytes back = pool.apply_async(die_once, std::tuple(300 * mega), {.retries = 1}).get();
  CHECK(oracle::page.words[0] == 2);
  CHECK(back.size() == 300 * mega);
  CHECK(is_pattern(back));
  oracle::page.words[0] = 0;
  CHECK_THROWS_AS(pool.apply(die_once, 300 * mega), libpool::WorkerCrashed);
}

TEST_CASE("texts and numbers of all sizes come back whole") {
  ProcessPool pool(2);
  const auto text = [](std::size_t size) { return std::u16string(size, u'\x1234'); };
  const auto numbers = [](std::size_t size) {
    std::vector<std::uint16_t> made(size);
    for (std::size_t i = 0; i < size; ++i) made[i] = static_cast<std::uint16_t>(i * 7);
    return made;
  };
  std::vector<std::size_t> sizes;
  for (const std::size_t size : {4 * mega, 5 * mega}) {
    for (std::size_t near = size - 3; near != size + 4; ++near) sizes.push_back(near);
  }
  const auto texts = pool.map(text, sizes);
  const auto lists = pool.map(numbers, sizes);
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    CHECK(texts[i] == text(sizes[i]));
    CHECK(lists[i] == numbers(sizes[i]));
  }
}

TEST_CASE("a series of large payloads stays within bounded memory") {
  ProcessPool pool(2);
  const std::size_t before = oracle::resident_bytes();
  auto view =
      std::views::iota(0, 20) | std::views::transform([](int) { return pattern(64 * mega); });
  std::size_t most = 0;
  for (const std::size_t size : pool.imap(checked_size, view, {.buffersize = 2})) {
    CHECK(size == 64 * mega);
    most = std::max(most, oracle::resident_bytes());
  }
  // A sanitizer keeps freed memory in quarantine.
  if (!oracle::sanitized) CHECK(most < before + 600 * mega);
}

TEST_CASE("a result beyond max_result_size is a SerializationError of its item") {
  ProcessPool pool(1, {.max_result_size = mega});
  const auto outcomes =
      pool.try_map(pattern, std::vector<std::size_t>{10, 2 * mega, 20}, {.chunksize = 3});
  REQUIRE(outcomes.size() == 3);
  CHECK(outcomes[0].value().size() == 10);
  CHECK_THROWS_AS(outcomes[1].value(), libpool::SerializationError);
  CHECK(outcomes[2].value().size() == 20);
}
