/// Messages that carry descriptors over a SEQPACKET socket (`SCM_RIGHTS`).
///
/// Used between the parent, the prefork root, a fork server and its workers. Allocates nothing, so
/// it may be used after fork. A message is delivered whole or not at all; what a dead receiver did
/// not take, the kernel closes.
#pragma once

#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <span>

namespace libpool::detail {

/// The most descriptors that one message may carry.
inline constexpr std::size_t most_message_descriptors = 8;

/// Whether a message failed for want of the kernel's memory only: a later try may succeed.
[[nodiscard]] constexpr bool short_of_memory(int error) noexcept {
  return error == ENOMEM || error == ENOBUFS || error == ETOOMANYREFS;
}

/// Sends one message. -1 and `errno` if it cannot be sent; `EAGAIN` if `wait` is false and the
/// socket is full. The descriptors stay open here. A closed other side is `EPIPE`, never a signal.
[[nodiscard]] ssize_t send_message(int socket, const void* message, std::size_t bytes,
                                   std::span<const int> descriptors, bool wait) noexcept;

struct ReceivedMessage {
  ssize_t bytes = -1;           ///< 0: end of file; -1: see `errno`, `EAGAIN` when nothing is there
  std::size_t descriptors = 0;  ///< how many came; 0 if they could not be taken (`EMFILE`)
};

/// Receives one message, never waiting. A longer one than `bytes` counts its whole length. The
/// descriptors that came are written to `descriptors` and registered; the caller owns them.
/// Descriptors in excess of the span are closed. To be called under a `DescriptorLock` where there
/// may be other threads.
[[nodiscard]] ReceivedMessage receive_message(int socket, void* into, std::size_t bytes,
                                              std::span<int> descriptors) noexcept;

}  // namespace libpool::detail
