/// `prefork()`: one early fork that later pools share.
///
/// Runs in the parent. It makes the prefork root (`worker/root_server.cpp`), which forks the pools'
/// fork servers on request. The root ends with the program, however that ends; if the root is
/// killed, later pools fork their own servers.
#pragma once

#include <libpool/detail/export.hpp>

namespace libpool {

/// Forks a helper process from the program as it is now, from which the fork servers of later pools
/// are forked. Call it early in `main`: before threads, whose locks a later fork would copy in
/// whatever state they are, and before the program grows. For pools that share it, tasks see the
/// program's memory as it is now. A pool with an `initializer` forks its own server. Repeated calls
/// do nothing, nor does one in a worker. Thread-safe. Throws `std::system_error` if no process can
/// be made.
LIBPOOL_EXPORT void prefork();

}  // namespace libpool
