/// Forking a server from the host, whatever the host's threads and signal handlers are doing.
///
/// Runs in the parent; the child's first lines run in the new process. If the parent dies right
/// after, the child sees it through the pidfd and the channel that it was given.
#pragma once

#include <sys/types.h>

#include <libpool/detail/file_descriptor.hpp>

namespace libpool::detail {

struct ForkedProcess {
  pid_t pid = 0;
  FileDescriptor process;  ///< its pidfd
};

/// Flushes output streams (see `ForkServer::start`), forks, and calls `child(context)` in the
/// child, with all signals blocked and no other thread in the middle of creating a descriptor.
/// `child` does not return. Throws `std::system_error` if there is no child.
[[nodiscard]] ForkedProcess fork_process(void (*child)(void* context), void* context);

/// The pidfd of the calling process, for those who have to see it die. Throws `std::system_error`.
[[nodiscard]] FileDescriptor own_pidfd();

/// The two ends of a SEQPACKET channel, neither of which blocks its reader. Throws
/// `std::system_error`.
[[nodiscard]] std::pair<FileDescriptor, FileDescriptor> create_channel();

}  // namespace libpool::detail
