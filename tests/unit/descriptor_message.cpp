/// Facts about messages with descriptors, over a real socket.
#include <libpool/detail/descriptor_message.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include <libpool/detail/file_descriptor.hpp>
#include <libpool/detail/fork_process.hpp>
#include <libpool/detail/system.hpp>
#include <tests/support/oracle.hpp>

using namespace libpool::detail;

namespace {

struct Channel {
  std::pair<FileDescriptor, FileDescriptor> ends = create_channel();
  [[nodiscard]] int left() const { return ends.first.get(); }
  [[nodiscard]] int right() const { return ends.second.get(); }
};

FileDescriptor make_event() {
  return create_descriptor("eventfd", [] { return system_calls.eventfd(0, EFD_CLOEXEC); });
}

int count_descriptors() {
  int open = 0;
  for (int fd = 0; fd < 256; ++fd) open += ::fcntl(fd, F_GETFD) != -1 ? 1 : 0;
  return open;
}

}  // namespace

TEST_CASE("a message arrives whole, with its descriptors, closed on exec") {
  const Channel channel;
  const FileDescriptor event = make_event();
  const int sent = 42;
  REQUIRE(send_message(channel.left(), &sent, sizeof sent, std::array{event.get()}, false) ==
          sizeof sent);
  int got = 0;
  std::array<int, 2> numbers{-1, -1};
  const ReceivedMessage received = receive_message(channel.right(), &got, sizeof got, numbers);
  CHECK(received.bytes == sizeof got);
  CHECK(received.descriptors == 1);
  CHECK(got == 42);
  const FileDescriptor copy{numbers[0]};
  CHECK(::fcntl(copy.get(), F_GETFD) == FD_CLOEXEC);
  CHECK(numbers[1] == -1);
}

TEST_CASE("receiving never waits, and tells an empty channel from a closed one") {
  Channel channel;
  int got = 0;
  CHECK(receive_message(channel.right(), &got, sizeof got, {}).bytes == -1);
  CHECK(errno == EAGAIN);
  channel.ends.first.reset();
  CHECK(receive_message(channel.right(), &got, sizeof got, {}).bytes == 0);
}

TEST_CASE("sending to a full channel is refused, and to a closed one is an error and no signal") {
  Channel channel;
  const std::array<char, 4096> bytes{};
  const auto send = [&] {
    return send_message(channel.left(), bytes.data(), bytes.size(), {}, false);
  };
  while (send() > 0) {
  }
  CHECK(errno == EAGAIN);
  channel.ends.second.reset();
  CHECK(send() == -1);
  CHECK((errno == EPIPE || errno == ECONNRESET));
}

TEST_CASE("what the other side sent before it died is received, though it left messages unread") {
  Channel channel;
  const int sent = 7;
  REQUIRE(send_message(channel.right(), &sent, sizeof sent, {}, false) > 0);
  REQUIRE(send_message(channel.left(), &sent, sizeof sent, {}, false) > 0);
  channel.ends.first.reset();
  int got = 0;
  CHECK(receive_message(channel.right(), &got, sizeof got, {}).bytes == sizeof got);
  CHECK(got == 7);
  CHECK(receive_message(channel.right(), &got, sizeof got, {}).bytes == 0);
}

TEST_CASE("a message of another size shows its whole length") {
  const Channel channel;
  const std::array<char, 100> sent{};
  REQUIRE(send_message(channel.left(), sent.data(), sent.size(), {}, false) > 0);
  int got = 0;
  CHECK(receive_message(channel.right(), &got, sizeof got, {}).bytes == 100);
}

TEST_CASE("descriptors that nobody expects are closed") {
  const Channel channel;
  const FileDescriptor event = make_event();
  const std::array three{event.get(), event.get(), event.get()};
  const int before = count_descriptors();
  int got = 0;
  REQUIRE(send_message(channel.left(), &got, sizeof got, three, false) > 0);
  std::array<int, 2> numbers{-1, -1};
  CHECK(receive_message(channel.right(), &got, sizeof got, numbers).descriptors == 0);
  CHECK(count_descriptors() == before);
}

TEST_CASE("a process out of descriptors gets the message without any of them") {
  const Channel channel;
  const FileDescriptor event = make_event();
  const std::array both{event.get(), event.get()};
  CHECK(oracle::exit_of_child([&] {
          int got = 0;
          if (send_message(channel.left(), &got, sizeof got, both, false) <= 0) return 2;
          const int before = count_descriptors();
          // Room for one more.
          const int next = ::dup(0);
          ::close(next);
          const rlimit limit{.rlim_cur = static_cast<rlim_t>(next) + 1,
                             .rlim_max = static_cast<rlim_t>(next) + 1};
          ::setrlimit(RLIMIT_NOFILE, &limit);
          std::array<int, 2> numbers{-1, -1};
          const auto received = receive_message(channel.right(), &got, sizeof got, numbers);
          if (received.bytes != sizeof got || received.descriptors != 0) return 3;
          return count_descriptors() == before ? 0 : 4;
        }) == 0);
}
