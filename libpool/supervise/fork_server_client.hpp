/// The parent's side of a fork server: starts it, asks it for workers, hears what became of them,
/// ends it.
///
/// Runs in the parent. Neighbours: `worker/fork_server.cpp` on the other side of the channel; death
/// notices go on to whoever buries the dead. If the fork server dies, its workers die with it and
/// `lost` tells.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <libpool/codec/function_token.hpp>
#include <libpool/detail/file_descriptor.hpp>
#include <libpool/ring/pool_description.hpp>
#include <worker/fork_server_messages.hpp>
#include <worker/worker_start.hpp>

namespace libpool::supervise {

/// One pool's fork server. Not thread-safe. In a process other than the one that started it, ending
/// it or its destructor does nothing.
class ForkServer {
 public:
  /// Forks a server: through the prefork root if there is one and `initializer` is empty, else from
  /// the calling thread. `descriptors.channel` is ignored; the others are the caller's and must
  /// stay open during the call. Throws `std::system_error` naming the call that failed.
  ///
  /// Before the fork, output streams are flushed: all of them in a program with one thread; else
  /// only the standard ones, since flushing all waits for other threads that are blocked in reading
  /// from any stream.
  [[nodiscard]] static ForkServer start(const ring::PoolDescription& pool,
                                        const ring::PoolDescriptors& descriptors,
                                        const std::function<void()>& initializer,
                                        worker::WorkerMain worker_main = &worker::worker_main);

  ForkServer(ForkServer&&) noexcept = default;
  ForkServer& operator=(ForkServer&& other) noexcept;
  ForkServer(const ForkServer&) = delete;
  ForkServer& operator=(const ForkServer&) = delete;
  ~ForkServer() { shut_down(); }

  /// To poll for POLLIN; when it fires, call `receive` until it has nothing.
  [[nodiscard]] int channel() const noexcept { return channel_.get(); }

  /// The server's pidfd, to poll for POLLIN; when it fires, call `receive` until it has nothing,
  /// then see `lost`.
  [[nodiscard]] int process_fd() const noexcept { return process_.get(); }

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

  /// Asks for workers `first` … `first + count - 1`. Each is answered by one report of `spawned` or
  /// `fork_failed`. A place whose last worker still lives, or is not yet reported dead, is filled
  /// after that. Never blocks; throws only `std::bad_alloc`.
  void spawn(std::uint32_t first, std::uint32_t count, std::uint32_t generation);

  /// Asks for SIGKILL for a worker, for callers that could not receive its pidfd. Never blocks.
  void kill(std::uint32_t worker, std::uint32_t generation);

  struct Event {
    worker::Report report;
    detail::FileDescriptor
        pidfd;  ///< with `spawned`; both are empty if they could not be received (EMFILE)
    detail::FileDescriptor socket;  ///< with `spawned`
  };

  /// Whether a request waits to be sent. While one does, `receive` is to be called from time to
  /// time, since no event may tell that there is room again.
  [[nodiscard]] bool has_unsent() const noexcept { return !unsent_.empty(); }

  /// The next report: spawned, fork_failed or exited. Never blocks; empty when there is none.
  [[nodiscard]] std::optional<Event> receive();

  /// Whether the server is dead or talks nonsense, as far as `receive` has seen. No report comes
  /// after that. Its workers are dying; their pidfds tell when they are dead.
  [[nodiscard]] bool lost() const noexcept { return lost_; }

  /// Ends the server. Returns when every process of the pool (workers, processes that tasks left
  /// behind, the server) is dead, and reaped unless the host takes that over. If the server was
  /// killed before, its workers die by themselves: then the owner has to wait for those that
  /// `receive` has told it of (`await_death`); processes that tasks left behind in sessions of
  /// their own live on, unless a prefork root finds them. May be repeated.
  void shut_down() noexcept;

  /// What was loaded in the image that workers are forked from. Valid for the life of this object.
  [[nodiscard]] const codec::ModuleMap& modules() const noexcept { return *modules_; }

 private:
  ForkServer() = default;
  void fork_own(const ring::PoolDescription& pool, const ring::PoolDescriptors& descriptors,
                const std::function<void()>& initializer, worker::WorkerMain worker_main);
  [[nodiscard]] bool fork_from_root(const ring::PoolDescription& pool,
                                    const ring::PoolDescriptors& descriptors,
                                    worker::WorkerMain worker_main);
  [[nodiscard]] int await_ready(int maker);
  void request(const worker::Request& request);
  void flush() noexcept;
  void hang_up() noexcept;

  detail::FileDescriptor channel_;
  detail::FileDescriptor process_;
  pid_t pid_ = 0;
  std::uint64_t owner_ = 0;  ///< identity of the process that started it
  std::uint32_t workers_ = 0;
  bool rooted_ = false;  ///< a child of the prefork root, else of this process
  std::shared_ptr<const codec::ModuleMap> modules_;
  std::vector<worker::Request> unsent_;  ///< what the socket or the kernel had no room for
  bool lost_ = false;
};

/// Waits until the process of a pidfd is dead. For workers of a lost server, which the kernel is
/// killing.
void await_death(int pidfd) noexcept;

/// Whether the process of a pidfd is dead.
[[nodiscard]] bool is_dead(int pidfd) noexcept;

}  // namespace libpool::supervise
