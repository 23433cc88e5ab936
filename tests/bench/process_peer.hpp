/// Bare processes: what the process peers and the limits share, and their workloads, written once.
///
/// A peer is a class with a constructor that takes the number of workers and the bytes of its
/// largest message (its `task_bytes` for single tasks, else those of the blocks that it carries),
/// and
///   tasks(input, output)    increments each number, one message a task
///   blocks(input, output)   the same in messages of the peer's best size
///   one(x)                  increments one number and waits for it
/// It has no recovery: a worker's death leaves it stuck, and the driver's time limit ends it.
#pragma once

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <span>
#include <system_error>

#include "bench.hpp"
#include "process_info.hpp"

namespace bench {

/// Anonymous memory that forked processes share, zeroed and with its pages present.
class SharedMemory {
 public:
  explicit SharedMemory(std::size_t size) : size_(size) {
    address_ = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (address_ == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
  }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory() { ::munmap(address_, size_); }

  /// Memory that is zero is a valid array of the types used here.
  template <class T>
  [[nodiscard]] T* as() const {
    return static_cast<T*>(address_);
  }

 private:
  std::size_t size_;
  void* address_;
};

/// Forked children, which end when the parent does.
class Children {
 public:
  Children() = default;
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;

  /// Forks `count` children that run `body(index)` and exit.
  template <class F>
  void start(std::size_t count, F body) {
    for (std::size_t i = 0; i < count; ++i) {
      const pid_t pid = ::fork();
      if (pid < 0) throw std::system_error(errno, std::generic_category(), "fork");
      if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        body(i);
        ::_exit(0);
      }
      pids_.push_back(pid);
    }
  }

  [[nodiscard]] const std::vector<pid_t>& pids() const { return pids_; }

  ~Children() {
    for (const pid_t pid : pids_) ::kill(pid, SIGKILL);
    for (const pid_t pid : pids_) ::waitpid(pid, nullptr, 0);
  }

 private:
  std::vector<pid_t> pids_;
};

template <class Peer>
void process_empty_tasks(const Arguments& arguments, Report& report) {
  Peer peer(arguments.workers(), Peer::task_bytes);
  report_increments(arguments.count("tasks", 1e6), "tasks_per_s", arguments, report,
                    [&](const Numbers& input, Numbers& output) {
                      output = Numbers(input.size());
                      peer.tasks(input, output);
                    });
}

template <class Peer>
void process_trivial_items(const Arguments& arguments, Report& report) {
  Peer peer(arguments.workers(), Peer::block_bytes);
  report_increments(arguments.count("items", 1e7), "items_per_s", arguments, report,
                    [&](const Numbers& input, Numbers& output) {
                      output = Numbers(input.size());
                      peer.blocks(input, output);
                    });
}

template <class Peer>
void process_round_trips(const Arguments& arguments, Report& report) {
  Peer peer(arguments.workers(), Peer::task_bytes);
  std::int64_t result = 0;
  round_trips(arguments, report, [&] { result = peer.one(result); });
  check(result > 0, "W3");
}

/// W4: buffers in messages of their size, there and back into fresh memory.
template <class Peer>
void process_payloads(const Arguments& arguments, Report& report) {
  const std::size_t bytes = arguments.count("bytes", 1 << 20);
  Peer peer(arguments.workers(), bytes);
  const Numbers input = numbers(arguments.count("buffers", 64) * (bytes / 8));
  Numbers output;
  const double spent = median_seconds(
      arguments.budget(),
      [&] {
        output = Numbers(input.size());
        peer.blocks(input, output);
      },
      [&] { output = Numbers(); });
  check(incremented(output), "W4");
  report.add("in_out_gib_per_s", static_cast<double>(8 * input.size()) / (1 << 30) / spent);
}

/// W10; tasks that sleep are nothing that a bare peer has.
template <class Peer>
void process_idle(const Arguments& arguments, Report& report) {
  idle_and_crowded(
      arguments, report,
      [](std::size_t workers) { return std::make_unique<Peer>(workers, Peer::task_bytes); },
      [](auto& peer) { keep(peer->one(1)); }, nullptr);
}

template <class Peer>
std::map<std::string, Workload> process_workloads() {
  return {{"W1", process_empty_tasks<Peer>},
          {"W2", process_trivial_items<Peer>},
          {"W3", process_round_trips<Peer>},
          {"W4", process_payloads<Peer>},
          {"W10", process_idle<Peer>}};
}

/// One task or its result, on its way between processes.
struct Message {
  std::uint64_t index;
  std::int64_t value;
};

/// A part of a vector that travels in one message: where it begins and how many numbers.
struct Part {
  std::size_t begin;
  std::size_t size;
};

/// The first part of `total` numbers, from `begin` on, of at most `size`.
inline Part part(std::size_t begin, std::size_t size, std::size_t total) {
  return {begin, std::min(size, total - begin)};
}

}  // namespace bench
