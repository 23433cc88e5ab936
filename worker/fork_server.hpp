/// The fork server (also called zygote) of one pool: forks its workers, reaps them, and ends them
/// all.
///
/// Runs in a process of its own, single-threaded, forked by the parent or by the prefork root; its
/// children are the workers and a spare one. It runs no user code and allocates nothing after its
/// start, so only an outside kill can end it: then its workers die with it (`PR_SET_PDEATHSIG`) and
/// the parent sees its pidfd fire.
#pragma once

#include <functional>

#include <libpool/codec/function_token.hpp>
#include <libpool/ring/pool_description.hpp>
#include <worker/worker_start.hpp>

namespace libpool::worker {

/// All that a fork server is told; lies in memory that it was forked with.
struct ForkServerStart {
  ring::PoolDescription pool;
  ring::PoolDescriptors descriptors;
  int host = -1;  ///< pidfd of the process that owns the pool
  const std::function<void()>* initializer = nullptr;
  const codec::ModuleMap* modules = nullptr;
  WorkerMain worker_main = nullptr;
};

/// Turns a process just forked, with all signals blocked, into a fork server. Returns to nobody:
/// the process ends when the host dies or closes the channel, after every process of the pool.
[[noreturn]] void run_fork_server(const ForkServerStart& start) noexcept;

/// What a fork server does once its process is one: serves until the host dies, closes the channel
/// or talks nonsense, then kills and reaps every process of the pool. False if it could not begin.
[[nodiscard]] bool serve(const ForkServerStart& start) noexcept;

}  // namespace libpool::worker
