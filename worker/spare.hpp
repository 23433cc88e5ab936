/// The spare worker: forked ahead of need, it waits for the place of one that dies, and watches for
/// deaths meanwhile.
///
/// Where the host is large a fork takes tens of milliseconds, as does the end of a process, of
/// which the kernel tells when it is over. Runs in a worker that has no place yet, between its fork
/// and its start, and in the fork server, which calls it. It runs no user code before it has a
/// place. Its death costs nothing but the time of another fork.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include <worker/place.hpp>
#include <worker/worker_start.hpp>

namespace libpool::worker {

/// What fork server and spare share: memory of these two alone.
struct SpareCall {
  std::atomic<std::uint32_t> called;  ///< futex: 1 once the rest is there
  std::uint32_t index;
  std::uint32_t generation;
};

/// In a spare: waits to be called, and then puts index and generation into `start`. Meanwhile the
/// index of each worker whose death word is marked goes out over `start.socket`, perhaps more than
/// once, as `std::uint32_t`: of the first 127 workers, where the kernel can wait for many words.
void await_call(WorkerStart& start) noexcept;

/// The fork server's spare, if it has one.
class Spare {
 public:
  Spare() = default;
  Spare(const Spare&) = delete;
  Spare& operator=(const Spare&) = delete;
  ~Spare() { forget(); }

  /// Memory for the call, which the next fork will share; null if there is none.
  [[nodiscard]] SpareCall* prepare() noexcept;

  /// That fork gave this process. Children forked from now on do not share the call.
  void forked(Forked process) noexcept;

  [[nodiscard]] pid_t pid() const noexcept { return process_.pid; }

  /// To poll for POLLIN; -1 without a spare. When it fires, call `receive_death` until it has
  /// nothing.
  [[nodiscard]] int socket() const noexcept { return process_.socket.get(); }

  /// The index of a worker that may be about to die. False if there is none.
  [[nodiscard]] bool receive_death(std::uint32_t& index) noexcept;

  /// The host has been told of a death, and is about to want a worker in that place.
  void will_be_called() noexcept;

  /// That was a moment ago. The server had better look for the answer than wait for it: the kernel,
  /// which takes the dead process apart, may not let go of this CPU before its next tick.
  [[nodiscard]] bool called_soon() const noexcept;

  /// The spare takes this place, and is the caller's.
  [[nodiscard]] Forked call(std::uint32_t index, std::uint32_t generation) noexcept;

  /// It is dead, or was never there.
  void forget() noexcept;

 private:
  Forked process_;
  SpareCall* call_ = nullptr;
  std::chrono::steady_clock::time_point called_by_{};
};

}  // namespace libpool::worker
