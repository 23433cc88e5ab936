/// Facts about populating memory: only pages that are not there are asked for.
#include <libpool/detail/fresh_memory.hpp>

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <vector>

#include <libpool/detail/system.hpp>
#include <tests/support/replaced.hpp>

using libpool::detail::populate;
using libpool::detail::system_calls;
using libpool::testing::Replaced;

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

TEST_CASE("much memory gets huge pages, as far as its first and last page reach") {
  constexpr std::size_t size = 8 * mebibyte;
  const Mapping mapping(size);
  const Replaced noted(system_calls.madvise, &note);
  const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  populate(memory + 16, size - 32);
  CHECK(given == std::vector<Advice>{{0, size, MADV_HUGEPAGE},
                                     {page, size - 2 * page, MADV_POPULATE_WRITE}});
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
