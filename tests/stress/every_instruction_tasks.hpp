/// The tasks whose workers die at every instruction, and the marks that they leave.
///
/// The functions run in workers; each tells the stepper where it is. The page is read by the
/// parent.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <libpool/detail/system.hpp>
#include <libpool/ring/event_count.hpp>
#include <tests/stress/stepper.hpp>

namespace every {

using libpool::detail::system_calls;
using stepper::Place;

inline constexpr std::size_t items = 48;  ///< of one call, at most

/// What a park word says while its worker sleeps.
inline constexpr auto idle = static_cast<std::uint32_t>(libpool::ring::ParkWord::State::idle);
inline constexpr auto blocked = static_cast<std::uint32_t>(libpool::ring::ParkWord::State::blocked);

struct Marks {
  std::array<std::atomic<std::uint32_t>, items> starts;
  std::array<std::atomic<std::uint32_t>, items> ends;
  std::atomic<std::uint32_t> yields;  ///< of a worker without work, before it sleeps
  std::atomic<std::uint32_t> asleep;  ///< the state in which the worker sleeps now, if it does
  std::atomic<std::uint32_t> parent_decodes;
  std::atomic<std::uint32_t> nap_us;
};

inline Marks& map_marks() {
  void* memory =
      ::mmap(nullptr, sizeof(Marks), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  return *static_cast<Marks*>(memory);
}
inline Marks& marks = map_marks();

// -- what a process of the pool is -------------------------------------------------------------

/// Forks since the test's own process: the fork server is 1, its workers are 2.
inline int generation = 0;
inline std::uint32_t yields = 0;  ///< of this process, since it ran something
inline bool in_worker() { return generation == 2; }

inline pid_t traced_fork() {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ++generation;
  if (in_worker()) {
    marks.asleep = 0;
    stepper::pass(Place::forked, 0);
  }
  return 0;
}

inline decltype(system_calls.futex_wait) real_futex_wait = nullptr;

inline int traced_futex_wait(const std::uint32_t* word, std::uint32_t expected,
                             const timespec* timeout) {
  if (!in_worker()) return real_futex_wait(word, expected, timeout);
  marks.yields = yields;
  stepper::pass(Place::sleeps, expected);
  marks.asleep = expected;
  const int result = real_futex_wait(word, expected, timeout);
  marks.asleep = 0;
  stepper::pass(Place::wakes, expected);
  return result;
}

/// The kernel's own, since its code that is mapped into every process takes no breakpoints.
inline int plain_clock_gettime(clockid_t clock, timespec* now) {
  return static_cast<int>(::syscall(SYS_clock_gettime, clock, now));
}

/// Without memory to call it by there is no spare: each worker is forked when its turn comes, and
/// is seen from its first instruction on.
inline void* mmap_without_spare(void* where, std::size_t bytes, int protection, int flags, int fd,
                                off_t offset) {
  if ((flags & MAP_SHARED) != 0) return errno = ENOMEM, MAP_FAILED;
  return ::mmap(where, bytes, protection, flags, fd, offset);
}

inline void trace_system_calls() {
  system_calls.mmap = mmap_without_spare;
  system_calls.clock_gettime = plain_clock_gettime;
  real_futex_wait = system_calls.futex_wait;
  system_calls.futex_wait = traced_futex_wait;
  system_calls.fork = traced_fork;
}

inline void prepare_worker() { stepper::pass(Place::prepares, 0); }

// -- the tasks ---------------------------------------------------------------------------------

/// A task gives the parent the time to fall asleep, so that its worker will ring.
enum class Nap : std::uint32_t { none, before_running, before_ending };

/// Bytes of results that come in pieces. Each is copied at once, and few instructions copy it.
using Piece = std::array<std::uint64_t, 64>;

/// Fills a result ring: the parent decodes one item's result for as long as the other needs to.
enum class Hold : std::uint32_t { none, holds_parent, waits_for_held_parent };

struct Order {
  std::uint32_t item = 0;
  std::uint32_t pieces = 0;  ///< of the result
  Nap nap = Nap::none;
  Hold hold = Hold::none;
};

[[nodiscard]] inline std::uint64_t answer_to(std::uint32_t item) { return 1000 + item; }

inline std::uint64_t run(const Order& order) {
  ++marks.starts[order.item];
  yields = 0;
  if (order.nap == Nap::before_running) ::usleep(marks.nap_us);
  while (order.hold == Hold::waits_for_held_parent && marks.parent_decodes == 0) ::usleep(50);
  stepper::pass(Place::runs, order.item);
  return answer_to(order.item);
}

/// Argument and result are copied as bits.
inline std::uint64_t run_bits(Order order) { return run(order); }

struct Parcel {
  Order order;
  std::string ballast;
  mutable bool returned = false;

  explicit Parcel(Order o = {}, std::string b = {}) : order(o), ballast(std::move(b)) {}
  Parcel(const Parcel&) = default;
  Parcel(Parcel&&) = default;
  Parcel& operator=(const Parcel&) = default;
  Parcel& operator=(Parcel&&) = default;
  ~Parcel() {
    if (!returned) return;
    ++marks.ends[order.item];
    if (order.nap == Nap::before_ending) ::usleep(marks.nap_us);
    stepper::pass(Place::ends, order.item);
  }
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & order;
    if (Archive::is_loading::value) stepper::pass(Place::decodes, order.item);
    archive & ballast;
  }
};

/// While it decodes, the parent drains no ring: until the worker sleeps for want of room, or is
/// dead.
inline void hold_parent() {
  marks.parent_decodes = 1;
  while (marks.asleep != blocked && stepper::now(stepper::control.struck[0]) == 0) ::usleep(20);
}

struct Reply {
  std::uint64_t answer = 0;
  Order order;
  std::vector<Piece> pieces;

  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    if (Archive::is_saving::value) stepper::pass(Place::encodes, order.item);
    archive & answer & order;
    pieces.resize(order.pieces);
    for (Piece& piece : pieces) archive & piece;
    if (Archive::is_saving::value && order.hold == Hold::waits_for_held_parent)
      ::usleep(marks.nap_us);
    if (Archive::is_loading::value && order.hold == Hold::holds_parent) hold_parent();
  }
};

inline Reply deliver(const Parcel& parcel) {
  const Order& order = parcel.order;
  Reply reply{0, order, std::vector<Piece>(order.pieces)};
  for (Piece& piece : reply.pieces) piece.fill(order.item);
  reply.answer = run(order);
  parcel.returned = true;
  return reply;
}

}  // namespace every

// The worker loop yields between its looks for a chunk; this stands in for the C library's.
extern "C" int sched_yield() noexcept {
  if (every::in_worker()) stepper::pass(every::Place::yields, ++every::yields);
  return static_cast<int>(::syscall(SYS_sched_yield));
}

extern "C" void _exit(int status) {
  if (every::in_worker()) stepper::pass(every::Place::leaves, 0);
  for (;;) ::syscall(SYS_exit_group, status);
}
