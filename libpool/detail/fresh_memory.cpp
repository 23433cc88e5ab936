/// Pages for memory that is about to be written. Runs in the parent and in workers; see the header.
#include <libpool/detail/fresh_memory.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

#include <libpool/detail/system.hpp>

namespace libpool::detail {
namespace {

/// Whole pages, by their addresses.
struct Pages {
  std::uintptr_t begin;
  std::uintptr_t end;
};

std::uintptr_t page_size() noexcept { return static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE)); }

/// The pages from the first to the last that the memory touches (`outward`), or that it fills.
Pages pages_of(const void* memory, std::size_t bytes, bool outward) noexcept {
  const std::uintptr_t page = page_size();
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  const auto up = [page](std::uintptr_t at) { return (at + page - 1) / page * page; };
  const auto down = [page](std::uintptr_t at) { return at / page * page; };
  if (outward) return {down(address), up(address + bytes)};
  return {up(address), down(address + bytes)};
}

/// The pages from the first one on that is not there.
Pages absent(Pages pages) noexcept {
  const std::uintptr_t page = page_size();
  std::array<unsigned char, 1024> present;
  while (pages.begin < pages.end) {
    const std::size_t count = std::min((pages.end - pages.begin) / page, present.size());
    if (system_calls.mincore(reinterpret_cast<void*>(pages.begin), count * page, present.data()) !=
        0) {
      break;
    }
    const auto there = [](unsigned char state) { return (state & 1) != 0; };
    const auto first = std::find_if_not(present.begin(), present.begin() + count, there);
    const auto found = static_cast<std::size_t>(first - present.begin());
    pages.begin += found * page;
    if (found != count) break;
  }
  return pages;
}

void advise(Pages pages, int advice) noexcept {
  (void)system_calls.madvise(reinterpret_cast<void*>(pages.begin), pages.end - pages.begin, advice);
}

}  // namespace

void populate(void* memory, std::size_t bytes) noexcept {
  constexpr std::size_t worthwhile = std::size_t{64} << 10;
  // Half of it is the least that surely holds a huge page.
  constexpr std::size_t worthwhile_huge = std::size_t{4} << 20;
  if (bytes < worthwhile) return;
  const int before = errno;
  // The pages at the ends may be others' as well, who have touched them. To populate pages that are
  // there takes a hundred times as long as to ask whether they are.
  const Pages fresh = absent(pages_of(memory, bytes, false));
  if (fresh.begin < fresh.end) {
    // Outward: a block of malloc's that is a mapping of its own gets the advice as a whole, and
    // stays one mapping.
    if (bytes >= worthwhile_huge) advise(pages_of(memory, bytes, true), MADV_HUGEPAGE);
    advise(fresh, MADV_POPULATE_WRITE);
  }
  errno = before;
}

}  // namespace libpool::detail
