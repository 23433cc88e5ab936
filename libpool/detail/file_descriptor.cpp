/// The register of the library's descriptors: one bit each, set and cleared without a lock.
///
/// Runs in every process. The register is private memory: a forked process starts with a copy,
/// which is true for it, because it inherits the descriptors as well.
#include <libpool/detail/file_descriptor.hpp>

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <mutex>

namespace libpool::detail {
namespace {

using Word = std::atomic<std::uint64_t>;
static_assert(Word::is_always_lock_free);

constexpr std::size_t bits_per_word = 64;

/// As many descriptors as Linux lets a process have by default (`fs.nr_open`), in 128 KiB of which
/// only touched pages exist. A descriptor above it is not registered: a server forked meanwhile
/// keeps a copy, which harms only those who wait for the end of file on its other side.
constexpr std::size_t most_descriptors = std::size_t{1} << 20;

constinit Word registered[most_descriptors / bits_per_word];

/// Words in use; keeps the sweep after a fork short.
constinit std::atomic<std::size_t> words_in_use{0};

void unregister_descriptor(int fd) noexcept {
  const auto number = static_cast<std::size_t>(fd);
  if (number >= most_descriptors) return;
  registered[number / bits_per_word].fetch_and(~(std::uint64_t{1} << (number % bits_per_word)));
}

/// In a union, because a forked process makes it anew without the destructor, which would be
/// undefined for a mutex that is locked.
union LockStorage {
  constexpr LockStorage() noexcept : mutex{} {}
  ~LockStorage() {}
  std::mutex mutex;
};
constinit LockStorage lock_storage;

}  // namespace

FileDescriptor::FileDescriptor(int fd) noexcept : fd_(fd < 0 ? -1 : fd) {
  if (fd_ >= 0) register_descriptor(fd_);
}

void FileDescriptor::reset() noexcept {
  const int fd = std::exchange(fd_, -1);
  if (fd < 0) return;
  const int error = errno;
  {
    // Without the lock, a server forked between these two would keep a copy that nobody closes; in
    // the other order, the number could already be another thread's, whose bit we would clear.
    const DescriptorLock lock;
    unregister_descriptor(fd);
    system_calls.close(fd);  // Linux has closed it, whatever the call returns.
  }
  errno = error;
}

DescriptorLock::DescriptorLock() noexcept { lock_storage.mutex.lock(); }

DescriptorLock::~DescriptorLock() { lock_storage.mutex.unlock(); }

void DescriptorLock::forget_after_fork() noexcept { std::construct_at(&lock_storage.mutex); }

void register_descriptor(int fd) noexcept {
  const auto number = static_cast<std::size_t>(fd);
  if (number >= most_descriptors) return;
  const std::size_t word = number / bits_per_word;
  registered[word].fetch_or(std::uint64_t{1} << (number % bits_per_word));
  std::size_t in_use = words_in_use.load();
  while (in_use <= word && !words_in_use.compare_exchange_weak(in_use, word + 1)) {
  }
}

void close_registered_except(std::span<const int> kept) noexcept {
  const std::size_t words = words_in_use.load();
  for (std::size_t word = 0; word < words; ++word) {
    std::uint64_t open = registered[word].load();
    while (open != 0) {
      const int fd = static_cast<int>(word * bits_per_word) + std::countr_zero(open);
      open &= open - 1;
      if (std::find(kept.begin(), kept.end(), fd) != kept.end()) continue;
      unregister_descriptor(fd);
      system_calls.close(fd);
    }
  }
}

int above_standard_streams(int fd) noexcept {
  constexpr int last_standard_stream = 2;
  if (fd < 0 || fd > last_standard_stream) return fd;
  const int moved = system_calls.fcntl(fd, F_DUPFD_CLOEXEC, last_standard_stream + 1);
  const int error = errno;
  system_calls.close(fd);
  errno = error;
  return moved;
}

}  // namespace libpool::detail
