/// `sendmsg` and `recvmsg` with their control data.
///
/// Runs in every process of the library; see the header for what a death leaves.
#include <libpool/detail/descriptor_message.hpp>

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstring>

#include <libpool/detail/file_descriptor.hpp>
#include <libpool/detail/system.hpp>

namespace libpool::detail {
namespace {

/// Control data of one message, aligned as the kernel's macros want it.
struct Control {
  alignas(
      cmsghdr) std::array<std::byte, CMSG_SPACE(most_message_descriptors * sizeof(int))> bytes{};
};

/// Copies the descriptors of the message's only control block; returns how many there are.
std::size_t descriptors_of(msghdr& message, std::span<int, most_message_descriptors> received) {
  const cmsghdr* block = CMSG_FIRSTHDR(&message);
  if (block == nullptr || block->cmsg_level != SOL_SOCKET || block->cmsg_type != SCM_RIGHTS)
    return 0;
  const std::size_t count = (block->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  std::memcpy(received.data(), CMSG_DATA(block), count * sizeof(int));
  return count;
}

}  // namespace

ssize_t send_message(int socket, const void* message, std::size_t bytes,
                     std::span<const int> descriptors, bool wait) noexcept {
  iovec part{const_cast<void*>(message), bytes};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  Control control;
  if (!descriptors.empty()) {
    header.msg_control = control.bytes.data();
    header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* block = CMSG_FIRSTHDR(&header);
    block->cmsg_level = SOL_SOCKET;
    block->cmsg_type = SCM_RIGHTS;
    block->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(block), descriptors.data(), descriptors.size_bytes());
  }
  const int flags = MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT);
  return retry_interrupted([&] { return system_calls.sendmsg(socket, &header, flags); });
}

ReceivedMessage receive_message(int socket, void* into, std::size_t bytes,
                                std::span<int> descriptors) noexcept {
  iovec part{into, bytes};
  Control control;
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.bytes.data();
  header.msg_controllen = control.bytes.size();
  constexpr int flags = MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC;
  ReceivedMessage result;
  do {
    result.bytes = retry_interrupted([&] { return system_calls.recvmsg(socket, &header, flags); });
    // A socket whose other side died with unread messages says so once, ahead of what it has sent
    // before.
  } while (result.bytes < 0 && errno == ECONNRESET);
  if (result.bytes < 0) return result;

  std::array<int, most_message_descriptors> received{};
  const std::size_t count = descriptors_of(header, received);
  // Part of the descriptors would be worse than none: nobody could tell which ones they are.
  const bool usable = (header.msg_flags & MSG_CTRUNC) == 0 && count <= descriptors.size();
  for (std::size_t i = 0; i < count; ++i) {
    if (!usable) {
      system_calls.close(received[i]);
      continue;
    }
    descriptors[i] = above_standard_streams(received[i]);
    if (descriptors[i] >= 0) register_descriptor(descriptors[i]);
  }
  if (usable) result.descriptors = count;
  return result;
}

}  // namespace libpool::detail
