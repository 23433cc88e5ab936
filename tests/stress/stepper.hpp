/// Ends a worker after exactly k of its instructions.
///
/// Runs in workers of a test's pool; the control lies in a page that the parent reads and writes. A
/// first run with the trap flag set records the address of each instruction between two spots of a
/// path. Later runs put a breakpoint where the k-th one is, and the worker kills itself there: as
/// good as stepping to it, at a cost that does not grow with k. x86-64 Linux only.
#pragma once

#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include <tests/support/trap.hpp>

namespace stepper {

/// Where the code that a path consists of calls `pass`.
enum class Place : std::uint32_t {
  nowhere,
  forked,    ///< a worker's first instructions
  prepares,  ///< in the initializer
  decodes,
  runs,
  encodes,
  ends,  ///< the item's argument is destroyed: its result is published
  yields,
  sleeps,
  wakes,
  leaves,  ///< in `_exit`
};

struct Spot {
  Place place = Place::nowhere;
  std::uint32_t item = 0;
};

enum class Mode : std::uint32_t { off, record, strike };

inline constexpr std::size_t most_steps = 1 << 18;

/// What a worker is to do on its way from one spot to another.
struct Order {
  Mode mode;
  Spot begin;
  Spot end;
  std::uint64_t target;   ///< address of the instruction before which the worker dies
  std::uint32_t visit;    ///< dies when it comes there for the n-th time
  std::uint32_t lingers;  ///< ns that it waits there before its death
};

/// Plain words: the handler may call no function that lies on a path, not even an atomic's. Only
/// one process at a time writes, and the parent reads with `now`.
struct Control {
  Order orders[2];  ///< the second is for the successor of the worker that the first one kills
  std::uint32_t count;
  // What happened.
  std::uint32_t current;   ///< the order that is to be taken, or has been
  std::uint32_t armed;     ///< 1 until a worker has taken it
  std::uint32_t there;     ///< 1: the last one's worker has come to its target
  std::uint32_t through;   ///< 1: a worker has come to its path's end
  std::int32_t struck[2];  ///< pids of the workers that died
  std::uint32_t steps;
  std::array<std::uint64_t, most_steps> addresses;
};

inline Control& map_control() {
  void* memory = ::mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  return *static_cast<Control*>(memory);
}
inline Control& control = map_control();

template <class Word>
[[nodiscard]] Word now(const Word& word) {
  return *static_cast<const volatile Word*>(&word);
}

// -- in the worker -----------------------------------------------------------------------------

inline constexpr std::uint64_t trap_flag = 0x100;
inline constexpr unsigned char breakpoint = 0xCC;

inline bool stepping = false;       ///< between the spots, in this process
inline unsigned char replaced = 0;  ///< what the breakpoint stands for
inline std::uint32_t visits = 0;

[[gnu::always_inline]] inline long raw_call(long number, long a, long b) {
  long result = 0;
  asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b) : "rcx", "r11", "memory");
  return result;
}

[[noreturn, gnu::always_inline]] inline void die() {
  const std::uint32_t current = control.current;
  const bool last = current + 1 == control.count;
  if (last) control.there = 1;
  if (control.orders[current].lingers != 0) {
    const timespec pause{0, control.orders[current].lingers};
    raw_call(SYS_nanosleep, reinterpret_cast<long>(&pause), 0);
  }
  const long pid = raw_call(SYS_getpid, 0, 0);
  control.struck[current] = static_cast<std::int32_t>(pid);
  if (!last) {
    control.current = current + 1;
    control.armed = 1;
  }
  for (;;) raw_call(SYS_kill, pid, SIGKILL);
}

inline void on_trap(int, siginfo_t*, void* context) {
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const auto next = static_cast<std::uint64_t>(registers[REG_RIP]);
  const Order& order = control.orders[control.current];
  if (order.mode == Mode::record) {
    if (control.steps < most_steps) control.addresses[control.steps] = next;
    ++control.steps;
    return;
  }
  auto* const code = reinterpret_cast<volatile unsigned char*>(order.target);
  if (next == order.target + 1 && *code == breakpoint) {
    if (++visits == order.visit) die();
    // Steps over the true instruction; the trap after it puts the breakpoint back.
    *code = replaced;
    registers[REG_RIP] = static_cast<greg_t>(order.target);
    registers[REG_EFL] |= trap_flag;
  } else {
    *code = breakpoint;
    registers[REG_EFL] &= ~static_cast<greg_t>(trap_flag);
  }
}

inline void set_breakpoint(std::uint64_t target) {
  constexpr std::uint64_t page = 4096;
  void* const begin = reinterpret_cast<void*>(target & ~(page - 1));
  if (::mprotect(begin, page, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) std::abort();
  auto* const code = reinterpret_cast<volatile unsigned char*>(target);
  replaced = *code;
  visits = 0;
  *code = breakpoint;
}

/// Both modes go through the same instructions from here on: what the one records, the other meets.
inline void begin_path(const Order& order) {
  libpool::testing::handle_traps(&on_trap);
  stepping = true;
  if (order.mode == Mode::strike) set_breakpoint(order.target);
  const std::uint64_t flag = order.mode == Mode::record ? trap_flag : 0;
  __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() | flag);
}

inline void end_path(const Order& order) {
  __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~trap_flag);
  stepping = false;
  if (order.mode == Mode::strike) {
    *reinterpret_cast<volatile unsigned char*>(order.target) = replaced;
  }
  control.through = 1;
}

/// A worker is here. Not inlined: at every call the same instructions.
[[gnu::noinline]] inline void pass(Place place, std::uint32_t item) {
  const Order& order = control.orders[control.current];
  if (stepping && order.end.place == place && order.end.item == item) end_path(order);
  if (control.armed != 0 && order.begin.place == place && order.begin.item == item) {
    control.armed = 0;
    begin_path(order);
  }
}

}  // namespace stepper
