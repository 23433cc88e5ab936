/// What a storm's tasks do and what they leave as evidence: orders, and a page that outlives every
/// worker.
///
/// The functions run in workers of the storm's pools; the page is read by the parent. A death
/// leaves the marks of what came before it: each mark is one atomic increment, made right before or
/// after what it stands for.
#pragma once

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include <libpool/this_worker.hpp>

namespace storm {

inline constexpr std::size_t max_items = 1 << 16;  ///< of one pool
inline constexpr std::size_t max_seats = 8;
inline constexpr std::size_t max_recoveries = 1 << 20;

/// What the workers say of one item.
struct Trace {
  std::atomic<std::uint16_t> decodes;    ///< decoding has begun; of `Parcel` only
  std::atomic<std::uint16_t> starts;     ///< the function's body has begun
  std::atomic<std::uint16_t> published;  ///< the result is in the ring; of `Parcel` only
  std::atomic<std::int32_t> worker;      ///< who made the last of the marks
};

/// What is known of the successive workers with one index.
struct Seat {
  std::atomic<std::int32_t> pid;      ///< of the last that came to its initializer
  std::atomic<std::int32_t> server;   ///< its parent
  std::atomic<std::uint64_t> struck;  ///< monotonic ns of the last deadly strike; 0: none is open
};

struct Page {
  std::array<Trace, max_items> traces;
  std::array<Seat, max_seats> seats;
  std::atomic<std::uint64_t> workers_started;
  std::atomic<std::uint64_t> own_deaths;  ///< tasks that killed their worker
  std::atomic<std::size_t> recoveries;
  std::array<std::atomic<std::uint32_t>, max_recoveries> recovery_us;
};

inline Page& map_page() {
  void* memory = ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  return *static_cast<Page*>(memory);
}
inline Page& page = map_page();

inline const pid_t host = ::getpid();

inline std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

// -- what an item is told to do ----------------------------------------------------------------

enum class Fate : std::uint8_t {
  calm,
  segfault,
  abort,
  exit_zero,
  exit_three,
  leave,  ///< by `exit`, through the exit handlers
  kill_itself,
  term_itself,
  end_thread,
  overflow_stack,
  throws,
  hoard,  ///< allocates more than the pool's memory limit
};
inline constexpr int fates = 12;

/// Where the fate strikes. In `Order`s that travel as bits, always `running`.
enum class Moment : std::uint8_t { decoding, running, encoding };

struct Order {
  std::uint32_t id = 0;
  Fate fate = Fate::calm;
  Moment moment = Moment::running;
  std::uint8_t deaths_wanted = 255;  ///< attempts that meet the fate; later ones are calm
  std::uint8_t unused = 0;
  std::uint32_t result_bytes = 0;
};

[[nodiscard]] inline std::uint64_t answer_to(std::uint32_t id) {
  return (std::uint64_t{id} + 1) * 0x9E3779B97F4A7C15u;
}

struct Expected {
  int signal = 0;  ///< or an exit status
  int status = 0;
};
[[nodiscard]] inline bool deadly(Fate fate) {
  return fate != Fate::calm && fate != Fate::throws && fate != Fate::hoard;
}
[[nodiscard]] inline Expected end_of(Fate fate) {
  switch (fate) {
    case Fate::segfault:
    case Fate::overflow_stack:
      return {SIGSEGV, 0};
    case Fate::abort:
      return {SIGABRT, 0};
    case Fate::kill_itself:
      return {SIGKILL, 0};
    case Fate::term_itself:
      return {SIGTERM, 0};
    case Fate::exit_three:
      return {0, 3};
    case Fate::leave:
      return {0, 4};
    default:
      return {0, 0};
  }
}

// -- in a worker -------------------------------------------------------------------------------

inline bool first_claim = true;  ///< of this process; the parent never changes it

/// Any mark but the first of a worker costs three increments.
inline void mark(const Order& order, std::atomic<std::uint16_t> Trace::* what) {
  Trace& trace = page.traces[order.id];
  trace.worker = ::getpid();
  ++(trace.*what);
  if (!first_claim) return;
  first_claim = false;
  const std::uint64_t struck = page.seats[*libpool::this_worker::index()].struck.exchange(0);
  if (struck == 0) return;
  const std::size_t entry = page.recoveries++;
  if (entry < max_recoveries) {
    page.recovery_us[entry] = static_cast<std::uint32_t>((now_ns() - struck) / 1000);
  }
}

/// The pool's initializer.
inline void take_seat() {
  Seat& seat = page.seats[*libpool::this_worker::index()];
  ++page.workers_started;
  seat.server = ::getppid();
  seat.pid = ::getpid();
}

inline volatile bool deep_enough = false;  ///< for ever; no compiler knows

[[gnu::noinline]] inline int recurse(const volatile char* outer) {
  volatile char frame[4096];
  frame[0] = outer[0];
  if (deep_enough) return 0;
  return recurse(frame) + frame[0];
}

inline void meet(const Order& order) {
  if (deadly(order.fate)) {
    ++page.own_deaths;
    page.seats[*libpool::this_worker::index()].struck = now_ns();
  }
  volatile int* volatile nowhere = nullptr;
  const volatile char here = 1;
  switch (order.fate) {
    case Fate::calm:
      return;
    case Fate::segfault:
      *nowhere = 1;
      return;
    case Fate::abort:
      std::abort();
    case Fate::exit_zero:
      ::_exit(0);
    case Fate::exit_three:
      ::_exit(3);
    case Fate::leave:
      std::exit(4);
    case Fate::kill_itself:
      ::kill(::getpid(), SIGKILL);
      for (;;) ::pause();
    case Fate::term_itself:
      ::kill(::getpid(), SIGTERM);
      for (;;) ::pause();
    case Fate::end_thread:
      ::pthread_exit(nullptr);
    case Fate::overflow_stack:
      (void)recurse(&here);
      return;
    case Fate::throws:
      throw std::runtime_error("item " + std::to_string(order.id));
    case Fate::hoard: {
      const std::vector<char> memory(std::size_t{1} << 30, 'x');
      throw std::logic_error("the limit allows " + std::to_string(memory.size()) + " bytes");
    }
  }
}

/// Obeys if this is the moment, and no more than the wanted number of attempts have begun.
inline void obey(const Order& order, Moment now, int attempt) {
  if (order.moment == now && ::getpid() != host && attempt <= order.deaths_wanted) meet(order);
}

/// Travels as bits.
inline std::uint64_t work(Order order) {
  mark(order, &Trace::starts);
  obey(order, Moment::running, page.traces[order.id].starts);
  return answer_to(order.id);
}
inline std::uint64_t work_both(Order order, std::uint64_t more) { return work(order) + more; }

/// Travels by its `serialize`, so that it can tell of its decoding; its end, after a return of the
/// function, tells that the result is published, because arguments are held until then.
struct Parcel {
  Order order;
  std::string ballast;
  mutable bool returned = false;

  Parcel() = default;
  Parcel(const Parcel&) = default;
  Parcel(Parcel&&) = default;
  Parcel& operator=(const Parcel&) = default;
  Parcel& operator=(Parcel&&) = default;
  ~Parcel() {
    // `pthread_exit` in the encoding unwinds through here, and nothing is published then.
    if (returned && order.fate != Fate::end_thread) mark(order, &Trace::published);
  }
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & order;
    if constexpr (Archive::is_loading::value) {
      mark(order, &Trace::decodes);
      obey(order, Moment::decoding, page.traces[order.id].decodes);
    }
    archive & ballast;
  }
};

struct Reply {
  Order order;
  std::uint64_t answer = 0;
  std::string ballast;

  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    if constexpr (Archive::is_saving::value) {
      obey(order, Moment::encoding, page.traces[order.id].starts);
    }
    archive & order & answer & ballast;
  }
};

inline Reply deliver(const Parcel& parcel) {
  const Order& order = parcel.order;
  mark(order, &Trace::starts);
  obey(order, Moment::running, page.traces[order.id].starts);
  Reply reply{order, answer_to(order.id), std::string(order.result_bytes, 'r')};
  parcel.returned = true;
  return reply;
}

}  // namespace storm
