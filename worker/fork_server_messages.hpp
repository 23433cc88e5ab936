/// What a pool and its fork server say to each other: one SEQPACKET message each, plain values.
///
/// Written and read in the parent, the prefork root and the fork server, which are images of one
/// program. A message is delivered whole or not at all, so no death leaves half of one.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <libpool/ring/pool_description.hpp>
#include <worker/worker_start.hpp>

namespace libpool::worker {

/// Parent → fork server. There is no farewell: the server ends when the parent closes the channel.
struct Request {
  enum class Kind : std::uint32_t {
    spawn = 1,  ///< start workers `worker` … `worker + count - 1`; one whose predecessor lives
                ///< starts after it
    kill = 2,   ///< SIGKILL for the one worker, if that generation of it lives
  };
  Kind kind{};
  std::uint32_t worker = 0;
  std::uint32_t count = 0;
  std::uint32_t generation = 0;
};
static_assert(std::is_trivially_copyable_v<Request>);

/// Fork server → parent. A worker's reports come in the order in which things happened to it.
struct Report {
  enum class Kind : std::uint32_t {
    ready =
        1,  ///< the server runs; carries its pidfd. Comes first, and the client keeps it to itself
    spawned = 2,      ///< carries the worker's pidfd and the parent's end of its socket
    fork_failed = 3,  ///< `error` says why; no such process exists any more
    exited = 4,       ///< no instruction of the worker runs any more: `code` (`CLD_EXITED`, …) and
                      ///< `status`
  };
  Kind kind{};
  std::uint32_t worker = 0;
  std::uint32_t generation = 0;
  pid_t pid = 0;
  std::int32_t code = 0;    ///< `si_code` of `waitid`
  std::int32_t status = 0;  ///< `si_status`: the exit status or the signal
  std::int32_t error = 0;   ///< an `errno`
};
static_assert(std::is_trivially_copyable_v<Report>);

/// Parent → prefork root: fork a server for this pool. Carries `PoolRequest::descriptors`
/// descriptors: those of `ring::PoolDescriptors`, in order, then the host's pidfd.
struct PoolRequest {
  static constexpr std::size_t descriptors = 6;
  ring::PoolDescription pool;
  WorkerMain worker_main = nullptr;  ///< valid in the root, which was forked from this program
};
static_assert(std::is_trivially_copyable_v<PoolRequest>);

}  // namespace libpool::worker
