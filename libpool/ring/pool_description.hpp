/// What a fork server must know to serve one pool: plain values that travel in one message.
///
/// Written by the parent before the fork, read by the fork server and its workers. Nothing here
/// changes after construction, so no death can leave it half done.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <type_traits>

namespace libpool::ring {

/// Sizes from which parent and workers compute the same layout of shared memory.
struct PoolDescription {
  std::uint32_t workers = 0;
  std::uint32_t task_slots = 0;   ///< a power of two
  std::uint64_t task_memory = 0;  ///< bytes of the task segment's arena
  std::uint64_t result_ring = 0;  ///< bytes of each result ring, a power of two
  std::uint64_t memory_limit =
      0;  ///< bytes a worker may map beyond its start; UINT64_MAX: no limit
  std::uint64_t worker_memory = 0;  ///< bytes of freed memory that a worker keeps
  std::uint64_t max_tasks = 0;      ///< items after which a worker retires; UINT64_MAX: never
  std::uint32_t core_dumps = 0;     ///< 1: keep the host's core limit
  pid_t host = 0;                   ///< the process that owns the pool
};
static_assert(std::is_trivially_copyable_v<PoolDescription>);

/// The descriptors that a pool's fork server and workers inherit or receive, in this order.
struct PoolDescriptors {
  int channel = -1;   ///< SEQPACKET to the parent; fork server only
  int tasks = -1;     ///< memfd, sealed: read-only in workers
  int claims = -1;    ///< memfd: claim words and wake words
  int lanes = -1;     ///< memfd: all result rings; a worker maps its own
  int doorbell = -1;  ///< write end of the non-blocking pipe that wakes the parent
};

/// Parent → worker, over the worker's socket, with the sealed memfd of a payload too large for the
/// arena.
struct OwnMemoryMessage {
  std::uint64_t ticket = 0;  ///< of the chunk that the worker has claimed; it drops any other
  std::uint64_t size = 0;    ///< bytes of the payload
};
static_assert(std::is_trivially_copyable_v<OwnMemoryMessage>);

}  // namespace libpool::ring
