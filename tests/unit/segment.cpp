/// Facts about anonymous shared memory: seals that hold, lack of memory that is an error, mappings
/// that children do not get.
#include <libpool/memory/segment.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <system_error>

#include <tests/support/oracle.hpp>
#include <tests/support/replaced.hpp>

using namespace libpool;
using detail::system_calls;
using memory::Access;
using memory::MemoryFile;
using testing::Replaced;

namespace {

constexpr std::size_t size = 64 * 1024;

/// "call: errno" of the `std::system_error` that `body` throws, or "" if it throws none.
template <class Body>
std::string failure_of(Body body) {
  try {
    body();
  } catch (const std::system_error& error) {
    const std::string what = error.what();
    return what.substr(0, what.find(':')) + ": " + std::to_string(error.code().value());
  }
  return "";
}

std::string failed(const char* call, int error) {
  return std::string(call) + ": " + std::to_string(error);
}

std::size_t reserved_bytes(const MemoryFile& file) {
  struct stat status{};
  REQUIRE(::fstat(file.fd(), &status) == 0);
  return static_cast<std::size_t>(status.st_blocks) * 512;
}

bool blocks_file_size_signal() {
  sigset_t mask;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  return sigismember(&mask, SIGXFSZ) == 1;
}

}  // namespace

TEST_CASE("a new file has its size, nothing in it, no memory yet, and closes on exec") {
  const MemoryFile file = MemoryFile::create("test", size);
  CHECK(file.size() == size);
  CHECK(::lseek(file.fd(), 0, SEEK_END) == static_cast<off_t>(size));
  CHECK(reserved_bytes(file) == 0);
  CHECK((::fcntl(file.fd(), F_GETFD) & FD_CLOEXEC) != 0);
  const auto region = memory::map(file.fd(), 0, size, Access::read_only);
  const auto* bytes = memory::address(region);
  CHECK(std::all_of(bytes, bytes + size, [](std::byte byte) { return byte == std::byte{0}; }));
}

TEST_CASE("reserving takes the memory of the range and of no other") {
  MemoryFile file = MemoryFile::create("test", size);
  file.reserve(8192, 4096);
  CHECK(reserved_bytes(file) == 4096);
  file.reserve(0, size);
  CHECK(reserved_bytes(file) == size);
}

TEST_CASE("two mappings of a file show the same bytes, each from its offset") {
  const MemoryFile file = MemoryFile::create("test", size);
  const auto all = memory::map(file.fd(), 0, size, Access::read_write);
  const auto part = memory::map(file.fd(), 8192, 4096, Access::read_only);
  std::strcpy(reinterpret_cast<char*>(memory::address(all)) + 8192, "seen");
  CHECK(std::string(reinterpret_cast<const char*>(memory::address(part))) == "seen");
  CHECK(part.get_size() == 4096);
}

TEST_CASE("after the seal only the older mapping writes, in any way that Linux offers") {
  MemoryFile file = MemoryFile::create("test", size);
  file.reserve(0, size);
  const auto writable = memory::map(file.fd(), 0, size, Access::read_write);
  file.seal();
  CHECK(failure_of([&] { (void)memory::map(file.fd(), 0, size, Access::read_write); }) ==
        failed("mmap", EPERM));
  const auto readable = memory::map(file.fd(), 0, size, Access::read_only);
  CHECK(::mprotect(readable.get_address(), size, PROT_READ | PROT_WRITE) == -1);
  CHECK(errno == EACCES);
  CHECK(::write(file.fd(), "x", 1) == -1);
  CHECK(errno == EPERM);
  const std::string path = "/proc/self/fd/" + std::to_string(file.fd());
  const detail::FileDescriptor again(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(again);
  CHECK(failure_of([&] { (void)memory::map(again.get(), 0, size, Access::read_write); }) ==
        failed("mmap", EPERM));
  std::strcpy(reinterpret_cast<char*>(memory::address(writable)), "still");
  CHECK(std::string(reinterpret_cast<const char*>(memory::address(readable))) == "still");
}

TEST_CASE("the size of a sealed file is final") {
  MemoryFile file = MemoryFile::create("test", size);
  file.seal();
  CHECK(::ftruncate(file.fd(), size / 2) == -1);
  CHECK(errno == EPERM);
  CHECK(::ftruncate(file.fd(), size * 2) == -1);
  CHECK(errno == EPERM);
}

TEST_CASE("a sealed file can still be reserved: the arena grows after its seal") {
  MemoryFile file = MemoryFile::create("test", size);
  const auto writable = memory::map(file.fd(), 0, size, Access::read_write);
  file.seal();
  file.reserve(4096, 4096);
  CHECK(reserved_bytes(file) == 4096);
}

TEST_CASE("past a file size limit a file cannot be had, and no signal says so") {
  CHECK(oracle::exit_of_child([] {
          const rlimit limit{4096, 4096};
          if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
          ::signal(SIGXFSZ, SIG_DFL);
          if (failure_of([] { (void)MemoryFile::create("test", size); }) !=
              failed("ftruncate", EFBIG)) {
            return 2;
          }
          if (blocks_file_size_signal()) return 3;
          (void)MemoryFile::create("test", 4096);
          return 0;
        }) == 0);
}

TEST_CASE("a host that blocks the signal keeps it blocked, pending or not") {
  CHECK(oracle::exit_of_child([] {
          sigset_t signals;
          sigemptyset(&signals);
          sigaddset(&signals, SIGXFSZ);
          ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
          ::raise(SIGXFSZ);
          (void)MemoryFile::create("test", size);
          if (!blocks_file_size_signal()) return 1;
          sigset_t pending;
          sigpending(&pending);
          return sigismember(&pending, SIGXFSZ) == 1 ? 0 : 2;
        }) == 0);
}

TEST_CASE("each call that the kernel refuses is named with its error, and nothing is left open") {
  {
    const Replaced broken(
        system_calls.memfd_create, +[](const char*, unsigned) { return errno = EMFILE, -1; });
    CHECK(failure_of([] { (void)MemoryFile::create("test", size); }) ==
          failed("memfd_create", EMFILE));
  }
  {
    const Replaced broken(system_calls.ftruncate, +[](int, off_t) { return errno = EIO, -1; });
    CHECK(failure_of([] { (void)MemoryFile::create("test", size); }) == failed("ftruncate", EIO));
  }
  MemoryFile file = MemoryFile::create("test", size);
  {
    const Replaced broken(
        system_calls.fallocate, +[](int, int, off_t, off_t) { return errno = ENOSPC, -1; });
    CHECK(failure_of([&] { file.reserve(0, size); }) == failed("fallocate", ENOSPC));
    CHECK_FALSE(blocks_file_size_signal());
  }
  {
    const Replaced broken(system_calls.fcntl, +[](int, int, long) { return errno = EPERM, -1; });
    CHECK(failure_of([&] { file.seal(); }) == failed("fcntl", EPERM));
  }
  const auto region = memory::map(file.fd(), 0, size, Access::read_write);
  {
    const Replaced broken(
        system_calls.madvise, +[](void*, std::size_t, int) { return errno = EINVAL, -1; });
    CHECK(failure_of([&] { memory::keep_from_children(region); }) == failed("madvise", EINVAL));
  }
  CHECK(failure_of([] { (void)memory::map(-1, 0, size, Access::read_only); }) ==
        failed("mmap", EBADF));
}

TEST_CASE("a signal that interrupts a reservation only delays it") {
  static int interruptions;
  interruptions = 3;
  MemoryFile file = MemoryFile::create("test", size);
  const Replaced interrupted(
      system_calls.fallocate, +[](int fd, int mode, off_t offset, off_t bytes) {
        if (interruptions-- > 0) return errno = EINTR, -1;
        return ::fallocate(fd, mode, offset, bytes);
      });
  file.reserve(0, size);
  CHECK(reserved_bytes(file) == size);
}

TEST_CASE("a mapping kept from children is not there in a forked process; others are") {
  const MemoryFile file = MemoryFile::create("test", size);
  const auto kept = memory::map(file.fd(), 0, size, Access::read_write);
  const auto shared = memory::map(file.fd(), 0, size, Access::read_write);
  memory::keep_from_children(kept);
  CHECK(oracle::exit_of_child([&] {
          // ENOMEM: nothing is mapped there.
          if (::msync(shared.get_address(), size, MS_ASYNC) != 0) return 1;
          if (::msync(kept.get_address(), size, MS_ASYNC) == 0) return 2;
          return errno == ENOMEM ? 0 : 3;
        }) == 0);
  CHECK(::msync(kept.get_address(), size, MS_ASYNC) == 0);
}
