/// Anonymous shared memory. Runs in the parent and in workers; see the header.
#include <libpool/memory/segment.hpp>

#include <fcntl.h>
#include <sys/mman.h>

#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/file_mapping.hpp>
#include <system_error>

#include <libpool/detail/system.hpp>

namespace libpool::memory {

using detail::system_calls;

namespace {

/// While one lives, the SIGXFSZ that comes with EFBIG where a file size limit is set stays away
/// from this thread.
class WithoutFileSizeSignal {
 public:
  WithoutFileSizeSignal() noexcept {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGXFSZ);
    system_calls.pthread_sigmask(SIG_BLOCK, &signals_, &before_);
  }
  ~WithoutFileSizeSignal() {
    if (sigismember(&before_, SIGXFSZ) == 0) {
      const timespec now{};
      const int error = errno;
      while (system_calls.sigtimedwait(&signals_, nullptr, &now) > 0) {
      }
      errno = error;
    }
    system_calls.pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  WithoutFileSizeSignal(const WithoutFileSizeSignal&) = delete;
  WithoutFileSizeSignal& operator=(const WithoutFileSizeSignal&) = delete;

 private:
  sigset_t signals_;
  sigset_t before_;
};

/// What Boost.Interprocess asks of a thing that can be mapped.
class MappableFile {
 public:
  explicit MappableFile(int fd) noexcept : fd_(fd) {}
  [[nodiscard]] boost::interprocess::mapping_handle_t get_mapping_handle() const noexcept {
    return boost::interprocess::ipcdetail::mapping_handle_from_file_handle(fd_);
  }

 private:
  int fd_;
};

}  // namespace

MemoryFile MemoryFile::create(const char* label, std::size_t size) {
  auto fd = detail::create_descriptor("memfd_create", [&] {
    return system_calls.memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  });
  const WithoutFileSizeSignal quiet;
  const int resized = detail::retry_interrupted(
      [&] { return system_calls.ftruncate(fd.get(), static_cast<off_t>(size)); });
  if (resized != 0) detail::throw_system_error("ftruncate");
  return {std::move(fd), size};
}

void MemoryFile::reserve(std::size_t offset, std::size_t bytes) {
  const WithoutFileSizeSignal quiet;
  const int reserved = detail::retry_interrupted([&] {
    return system_calls.fallocate(fd_.get(), 0, static_cast<off_t>(offset),
                                  static_cast<off_t>(bytes));
  });
  if (reserved != 0) detail::throw_system_error("fallocate");
}

void MemoryFile::shrink(std::size_t size) {
  if (size >= size_) return;
  const int resized = detail::retry_interrupted(
      [&] { return system_calls.ftruncate(fd_.get(), static_cast<off_t>(size)); });
  if (resized != 0) detail::throw_system_error("ftruncate");
  size_ = size;
}

void MemoryFile::seal() {
  constexpr long seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE;
  if (system_calls.fcntl(fd_.get(), F_ADD_SEALS, seals) != 0) detail::throw_system_error("fcntl");
}

Mapping map(int fd, std::size_t offset, std::size_t bytes, Access access) {
  const auto mode = access == Access::read_only ? boost::interprocess::read_only
                                                : boost::interprocess::read_write;
  try {
    return {MappableFile(fd), mode, static_cast<boost::interprocess::offset_t>(offset), bytes};
  } catch (const boost::interprocess::interprocess_exception& error) {
    detail::throw_system_error("mmap", error.get_native_error());
  }
}

void keep_from_children(const Mapping& region) {
  for (const int advice : {MADV_DONTFORK, MADV_DONTDUMP}) {
    if (system_calls.madvise(region.get_address(), region.get_size(), advice) != 0) {
      detail::throw_system_error("madvise");
    }
  }
}

}  // namespace libpool::memory
