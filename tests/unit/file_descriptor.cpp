/// Facts about owned descriptors and the register that forked processes close them by.
#include <libpool/detail/file_descriptor.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

#include <tests/support/oracle.hpp>

using namespace libpool::detail;

namespace {

FileDescriptor make_event() {
  return create_descriptor("eventfd", [] { return system_calls.eventfd(0, EFD_CLOEXEC); });
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

}  // namespace

TEST_CASE("a descriptor is closed by its owner, once, and ownership moves") {
  FileDescriptor first = make_event();
  const int number = first.get();
  FileDescriptor second = std::move(first);
  CHECK_FALSE(first);
  CHECK(is_open(number));
  second = make_event();
  CHECK_FALSE(is_open(number));
  const int other = second.get();
  second.reset();
  CHECK_FALSE(is_open(other));
}

TEST_CASE("a call that fails is named in the error") {
  CHECK_THROWS_WITH_AS((void)create_descriptor("eventfd",
                                               [] {
                                                 errno = EMFILE;
                                                 return -1;
                                               }),
                       doctest::Contains("eventfd"), std::system_error);
}

TEST_CASE("a forked process closes all registered descriptors but those it keeps") {
  const FileDescriptor closed = make_event();
  const FileDescriptor kept = make_event();
  const int foreign = ::eventfd(0, 0);
  CHECK(oracle::exit_of_child([&] {
          DescriptorLock::forget_after_fork();
          close_registered_except(std::array{kept.get()});
          return !is_open(closed.get()) && is_open(kept.get()) && is_open(foreign) ? 0 : 1;
        }) == 0);
  CHECK(is_open(closed.get()));
  ::close(foreign);
}

TEST_CASE("a number that was closed is no longer registered") {
  int number = -1;
  {
    const FileDescriptor owned = make_event();
    number = owned.get();
  }
  CHECK(oracle::exit_of_child([&] {
          DescriptorLock::forget_after_fork();
          const int foreign = ::eventfd(0, 0);
          if (foreign != number) ::dup2(foreign, number);
          close_registered_except({});
          return is_open(number) ? 0 : 1;
        }) == 0);
}

TEST_CASE("no descriptor takes the place of a closed standard stream") {
  CHECK(oracle::exit_of_child([] {
          ::close(0);
          ::close(1);
          const FileDescriptor one = make_event();
          const auto [in, out] =
              create_descriptors("pipe2", [](int* ends) { return ::pipe2(ends, O_CLOEXEC); });
          const bool free = !is_open(0) && !is_open(1);
          return free && one.get() > 2 && in.get() > 2 && out.get() > 2 ? 0 : 1;
        }) == 0);
}

TEST_CASE("a child forked in the middle of other threads' work can create descriptors") {
  std::atomic<bool> done{false};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&done] {
      while (!done) make_event();
    });
  }
  for (int i = 0; i < 50; ++i) {
    CHECK(oracle::exit_of_child(
              [] {
                DescriptorLock::forget_after_fork();
                return make_event() ? 0 : 1;
              },
              60) == 0);
  }
  done = true;
}
