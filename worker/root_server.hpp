/// The prefork root: forks fork servers from an image of the program as it was when `prefork()` was
/// called.
///
/// Runs in a process of its own, single-threaded; its children are the pools' fork servers. It runs
/// no user code and allocates nothing after its start. If it is killed, the servers that it forked
/// go on, and later pools fork their own.
#pragma once

#include <cstddef>

#include <libpool/codec/function_token.hpp>

namespace libpool::worker {

/// The most pools that can have servers of the root at once. More fork their own; a table of fixed
/// size keeps the root free of allocation.
inline constexpr std::size_t most_rooted_pools = 1024;

struct RootServerStart {
  int channel = -1;  ///< SEQPACKET to the host, whose threads send `PoolRequest`s
  int host = -1;     ///< pidfd of the host
  const codec::ModuleMap* modules = nullptr;
};

/// Turns a process just forked, with all signals blocked, into the root. The process ends when the
/// host dies or closes the channel, after everything that descends from it.
[[noreturn]] void run_root_server(const RootServerStart& start) noexcept;

}  // namespace libpool::worker
