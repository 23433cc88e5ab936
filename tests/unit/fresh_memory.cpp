/// Facts about populating memory: only pages that are not there are asked for.
#include <libpool/detail/fresh_memory.hpp>

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include <libpool/detail/system.hpp>
#include <tests/support/replaced.hpp>

using libpool::detail::PageSizes;
using libpool::detail::populate;
using libpool::detail::populate_ahead;
using libpool::detail::system_calls;
using libpool::testing::Replaced;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20;

/// What the kernel was asked for, in the order of the calls.
struct Advice {
  std::size_t offset;
  std::size_t bytes;
  int what;
  bool operator==(const Advice&) const = default;
};

std::byte* memory = nullptr;
std::vector<Advice> given;

int note(void* begin, std::size_t bytes, int what) {
  given.push_back({static_cast<std::size_t>(static_cast<std::byte*>(begin) - memory), bytes, what});
  return ::madvise(begin, bytes, what);
}

struct Mapping {
  explicit Mapping(std::size_t bytes) : size(bytes) {
    memory = static_cast<std::byte*>(
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(memory != MAP_FAILED);
    given.clear();
  }
  ~Mapping() { ::munmap(memory, size); }
  std::size_t size;
};

}  // namespace

TEST_CASE("fresh memory is populated at once, and asked for once") {
  const Mapping mapping(mebibyte);
  const Replaced noted(system_calls.madvise, &note);
  populate(memory, mebibyte);
  CHECK(given == std::vector<Advice>{{0, mebibyte, MADV_POPULATE_WRITE}});
  populate(memory, mebibyte);
  CHECK(given.size() == 1);
}

TEST_CASE("pages that are there are left out where memory begins with them") {
  const Mapping mapping(mebibyte);
  const Replaced noted(system_calls.madvise, &note);
  std::memset(memory, 1, mebibyte / 4);
  populate(memory, mebibyte);
  CHECK(given == std::vector<Advice>{{mebibyte / 4, 3 * mebibyte / 4, MADV_POPULATE_WRITE}});
  CHECK(memory[0] == std::byte{1});
}

TEST_CASE("huge pages are had while they cost less, and tried again after some small ones") {
  PageSizes sizes;
  CHECK_FALSE(sizes.next_huge());
  sizes.note(false, mebibyte, 100us);
  for (int i = 0; i < 20; ++i) {
    CHECK(sizes.next_huge());
    sizes.note(true, 2 * mebibyte, 200us);
  }
  for (int round = 0; round < 3; ++round) {
    CHECK(sizes.next_huge());
    sizes.note(true, mebibyte, 101us);
    for (int i = 0; i < 8; ++i) {
      CHECK_FALSE(sizes.next_huge());
      sizes.note(false, mebibyte, 100us);
    }
  }
  CHECK(sizes.next_huge());
  sizes.note(true, mebibyte, 10us);
  CHECK(sizes.next_huge());
}

TEST_CASE("what small pages cost is looked at now and then while huge ones cost less") {
  PageSizes sizes;
  CHECK_FALSE(sizes.next_huge());
  sizes.note(false, mebibyte, 100us);
  for (int i = 0; i < 64; ++i) CHECK(sizes.next_huge());
  CHECK_FALSE(sizes.next_huge());
  sizes.note(false, mebibyte, 10us);
  CHECK(sizes.next_huge());
  sizes.note(true, mebibyte, 50us);  // dearer now
  CHECK_FALSE(sizes.next_huge());
}

TEST_CASE("much memory is populated in parts, each of whole huge pages or of small ones") {
  constexpr std::size_t size = 64 * mebibyte;
  const Mapping mapping(size);
  const Replaced noted(system_calls.madvise, &note);
  const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  populate(memory + 16, size - 32);
  std::size_t end = page;  // the first page may be somebody else's, too
  for (auto call = given.begin(); call != given.end(); ++call) {
    const bool huge = call->what == MADV_HUGEPAGE;
    const Advice advised = *call;
    if (huge) REQUIRE(++call != given.end());
    CHECK(call->what == MADV_POPULATE_WRITE);
    CHECK(call->offset >= end);  // a page may reach further than it was asked for
    end = call->offset + call->bytes;
    const bool last = end == size - page;
    CHECK((last || reinterpret_cast<std::uintptr_t>(memory + end) % (2 * mebibyte) == 0));
    if (huge) CHECK(advised == Advice{call->offset, call->bytes, MADV_HUGEPAGE});
  }
  CHECK(end == size - page);
  // How many are huge is the machine's; that one is tried is not.
  CHECK(std::ranges::count(given, MADV_HUGEPAGE, &Advice::what) > 0);
}

TEST_CASE("memory that is filled step by step is populated some MiB ahead") {
  constexpr std::size_t size = 64 * mebibyte;
  constexpr std::size_t step = mebibyte / 16;
  const Mapping mapping(size);
  const Replaced noted(system_calls.madvise, &note);
  std::size_t populated = 0;
  for (std::size_t filled = 0; filled < size; filled += step) {
    populate_ahead(memory, filled, filled + step, size);
    for (const Advice& call : given) {
      if (call.what == MADV_POPULATE_WRITE) populated = call.offset + call.bytes;
    }
    given.clear();
    CHECK(populated >= filled + step);
    CHECK(populated <= filled + 8 * mebibyte);
    std::memset(memory + filled, 1, step);
  }
  CHECK(populated == size);
  // Now all is there.
  for (std::size_t filled = 0; filled < size; filled += step) {
    populate_ahead(memory, filled, filled + step, size);
  }
  CHECK(given.empty());
  const Mapping other(size);
  populate_ahead(memory, 0, mebibyte, mebibyte - 1);  // it will not lie here
  CHECK(given.empty());
}

TEST_CASE("little memory, and a kernel that tells nothing, change nothing but the pages") {
  const Mapping mapping(mebibyte);
  const Replaced noted(system_calls.madvise, &note);
  populate(memory, 4096);
  CHECK(given.empty());
  const Replaced silent(
      system_calls.mincore, +[](void*, std::size_t, unsigned char*) { return errno = EAGAIN, -1; });
  errno = 0;
  populate(memory, mebibyte);
  CHECK(given == std::vector<Advice>{{0, mebibyte, MADV_POPULATE_WRITE}});
  CHECK(errno == 0);
}
