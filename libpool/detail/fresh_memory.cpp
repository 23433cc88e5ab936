/// Pages for memory that is about to be written. Runs in the parent and in workers; see the header.
#include <libpool/detail/fresh_memory.hpp>

#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

#include <libpool/detail/system.hpp>

namespace libpool::detail {
namespace {

/// Of most machines. A part ends where such a page does, and is the longer of two if the rest holds
/// none.
constexpr std::size_t huge_page = std::size_t{2} << 20;
constexpr std::size_t longest_part = 3 * huge_page;

/// By their addresses.
struct Pages {
  std::uintptr_t begin;
  std::uintptr_t end;
};

std::uintptr_t page_size() noexcept { return static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE)); }

/// Those that the memory fills.
Pages pages_of(const void* memory, std::size_t bytes) noexcept {
  const std::uintptr_t page = page_size();
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  return {(address + page - 1) / page * page, (address + bytes) / page * page};
}

/// Which of the pages are there, of as many as a part has; where the kernel does not tell, it is
/// not `known`.
class Presence {
 public:
  explicit Presence(Pages pages) noexcept
      : pages_(std::min((pages.end - pages.begin) / page_size(), states_.size())),
        known_(system_calls.mincore(reinterpret_cast<void*>(pages.begin), pages_ * page_size(),
                                    states_.data()) == 0) {}

  [[nodiscard]] bool known() const noexcept { return known_; }
  [[nodiscard]] std::size_t pages() const noexcept { return pages_; }
  /// How many are there in front of the first one that is not.
  [[nodiscard]] std::size_t present() const noexcept {
    const auto first = std::find_if_not(states_.begin(), states_.begin() + pages_, is_present);
    return static_cast<std::size_t>(first - states_.begin());
  }
  [[nodiscard]] bool none() const noexcept {
    return known_ && std::none_of(states_.begin(), states_.begin() + pages_, is_present);
  }

 private:
  static bool is_present(unsigned char state) noexcept { return (state & 1) != 0; }

  std::array<unsigned char, longest_part / 4096> states_;
  std::size_t pages_;
  bool known_;
};

/// The pages from the first one on that is not there.
Pages absent(Pages pages) noexcept {
  while (pages.begin < pages.end) {
    const Presence presence(pages);
    if (!presence.known()) break;
    pages.begin += presence.present() * page_size();
    if (presence.present() != presence.pages()) break;
  }
  return pages;
}

bool advise(Pages pages, int advice) noexcept {
  return system_calls.madvise(reinterpret_cast<void*>(pages.begin), pages.end - pages.begin,
                              advice) == 0;
}

/// CPU time: that of other threads is no cost of ours.
std::chrono::nanoseconds thread_time() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds{time.tv_sec} + std::chrono::nanoseconds{time.tv_nsec};
}

PageSizes page_sizes;

bool holds_huge_page(Pages pages) noexcept {
  const std::uintptr_t first = (pages.begin + huge_page - 1) / huge_page * huge_page;
  return first + huge_page <= pages.end;
}

/// Pages that are not there, all of one size where that matters.
void populate_pages(Pages pages) noexcept {
  if (!holds_huge_page(pages)) {
    (void)advise(pages, MADV_POPULATE_WRITE);
    return;
  }
  const bool fresh = Presence(pages).none();
  const bool huge = page_sizes.next_huge();
  const auto before = thread_time();
  const bool advised = !huge || advise(pages, MADV_HUGEPAGE);
  const bool populated = advise(pages, MADV_POPULATE_WRITE);
  if (fresh && advised && populated) {
    page_sizes.note(huge, pages.end - pages.begin, thread_time() - before);
  }
}

/// As `populate` for the first part of the memory; returns how many bytes that is.
std::size_t populate_part(void* memory, std::size_t bytes) noexcept {
  constexpr std::size_t worthwhile = std::size_t{64} << 10;
  if (bytes < worthwhile) return bytes;
  const int before = errno;
  // The pages at the ends may be others' as well, who have touched them. To populate pages that are
  // there takes a hundred times as long as to ask whether they are.
  const Pages all = pages_of(memory, bytes);
  Pages part = absent(all);
  const std::uintptr_t full = (part.begin + longest_part) / huge_page * huge_page - huge_page;
  if (part.end >= full + huge_page) part.end = full;  // else the rest is no part of its own
  if (part.begin < part.end) populate_pages(part);
  errno = before;
  return part.end == all.end ? bytes : part.end - reinterpret_cast<std::uintptr_t>(memory);
}

}  // namespace

bool PageSizes::next_huge() noexcept {
  if (small_left_ > 0) {
    --small_left_;
    return false;
  }
  if (++huge_in_a_row_ <= most_huge_in_a_row) return true;
  huge_in_a_row_ = 0;
  return false;
}

void PageSizes::note(bool huge, std::size_t bytes, std::chrono::nanoseconds time) noexcept {
  const double cost = static_cast<double>(time.count()) / static_cast<double>(bytes);
  if (!huge) {
    small_cost_ = cost;
  } else if (cost > small_cost_) {
    small_left_ = small_in_a_row;
  }
}

void populate(void* memory, std::size_t bytes) noexcept {
  auto* const begin = static_cast<std::byte*>(memory);
  for (std::size_t done = 0; done < bytes;) done += populate_part(begin + done, bytes - done);
}

void populate_ahead(void* memory, std::size_t begin, std::size_t end,
                    std::size_t capacity) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  const bool enters = (address + begin) / huge_page != (address + end) / huge_page;
  if (begin != 0 && !enters) return;
  if (end > capacity) return;  // it will be moved
  // What is further ahead may never be written.
  const std::size_t window = (address + begin + longest_part) / huge_page * huge_page - address;
  populate_part(static_cast<std::byte*>(memory) + begin, std::min(window, capacity) - begin);
}

}  // namespace libpool::detail
