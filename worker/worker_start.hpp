/// From a fork in the fork server to the worker's main: the first lines of a worker, and its last
/// ones.
///
/// Runs in a worker. Before it: the fork server. After it: the worker loop. A death here is
/// reported by the fork server as that of a worker that never claimed anything.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>

#include <libpool/codec/function_token.hpp>
#include <libpool/ring/pool_description.hpp>

namespace libpool::worker {

struct SpareCall;

/// All that a worker is told.
struct WorkerStart {
  std::uint32_t index = 0;
  std::uint32_t generation = 0;
  ring::PoolDescription pool;
  ring::PoolDescriptors descriptors;  ///< the worker's own copies; `channel` is -1
  int socket = -1;                    ///< SEQPACKET to the parent, for this worker alone
  const std::function<void()>* initializer = nullptr;  ///< null or empty: none
  const codec::ModuleMap* modules = nullptr;  ///< of the image that workers are forked from
  SpareCall* call = nullptr;                  ///< of a spare: `index` and `generation` come with it
  bool has_cpu = false;  ///< there are as many CPUs as workers: looking for work costs nobody else
};

/// Where a worker goes once its process is mended. Does not return.
using WorkerMain = void (*)(const WorkerStart& start);

/// The pools' worker main (`worker_loop.cpp`).
[[noreturn]] void worker_main(const WorkerStart& start);

/// In the fork server, once: what need not be done in each worker. `exit` will end it as it ends a
/// worker, and freed memory will be kept. Takes locks of the C library for exit handlers and
/// memory.
void prepare_workers(const ring::PoolDescription& pool) noexcept;

/// Turns a process just forked from `server` into a worker and calls `main`, a spare once it is
/// called itself. Does not return.
[[noreturn]] void start_worker(WorkerStart start, WorkerMain main, pid_t server) noexcept;

/// Lets this worker die with its fork server. Credential changes cancel that, so the loop may call
/// it again after a task. Ends the worker if the server is dead already.
void die_with_server() noexcept;

/// Limits the address space to what is mapped now plus `bytes` (`UINT64_MAX`: no limit), and to the
/// hard limit. Throws `std::system_error` if the kernel refuses.
void apply_memory_limit(std::uint64_t bytes);

/// Ends the worker as `_exit` does, after what its tasks wrote to the standard streams is flushed.
/// The host's exit handlers and static destructors never run in a worker.
[[noreturn]] void leave_worker(int status) noexcept;

/// Whether this process is a worker, or was forked from one.
[[nodiscard]] bool inside_worker() noexcept;

}  // namespace libpool::worker
