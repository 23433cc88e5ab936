/// The identity lies in a page that the kernel wipes in forked children (`MADV_WIPEONFORK`).
///
/// Runs in every process. No lock and no function-local static: a fork in the middle of another
/// thread's first call must not leave the child with an initialisation that never ends.
#include <libpool/detail/process_identity.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <new>

#include <libpool/detail/system.hpp>

namespace libpool::detail {
namespace {

using IdentityWord = std::atomic<std::uint64_t>;
static_assert(IdentityWord::is_always_lock_free);

/// Stands for "the kernel cannot wipe pages"; is never read as an identity.
constinit IdentityWord cannot_wipe{0};

constinit std::atomic<IdentityWord*> page{nullptr};

/// Maps the page once; threads that come at the same time agree on the first one's.
IdentityWord* map_page() noexcept {
  const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* memory =
      system_calls.mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  IdentityWord* made = &cannot_wipe;
  if (memory != MAP_FAILED) {
    if (system_calls.madvise(memory, bytes, MADV_WIPEONFORK) == 0) {
      made = ::new (memory) IdentityWord{0};
    } else {
      system_calls.munmap(memory, bytes);
    }
  }
  IdentityWord* first = nullptr;
  if (page.compare_exchange_strong(first, made)) return made;
  if (made != &cannot_wipe) system_calls.munmap(memory, bytes);
  return first;
}

/// The pid alone comes back within hours on a busy machine; with the time of the first call it
/// doesn't.
std::uint64_t fresh_identity() noexcept {
  timespec now{};
  system_calls.clock_gettime(CLOCK_MONOTONIC, &now);
  const auto nanoseconds = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
                           static_cast<std::uint64_t>(now.tv_nsec);
  return ((static_cast<std::uint64_t>(system_calls.getpid()) << 40) ^ nanoseconds) | 1;
}

}  // namespace

std::uint64_t process_identity() noexcept {
  IdentityWord* word = page.load();
  if (word == nullptr) word = map_page();
  if (word == &cannot_wipe) return static_cast<std::uint64_t>(system_calls.getpid());
  std::uint64_t identity = word->load();
  if (identity != 0) return identity;
  const std::uint64_t fresh = fresh_identity();
  if (word->compare_exchange_strong(identity, fresh)) return fresh;
  return identity;
}

OwnProcess::OwnProcess() noexcept : identity_(process_identity()), word_(page.load()) {
  if (word_ == &cannot_wipe) word_ = nullptr;
}

}  // namespace libpool::detail
