/// Facts about sleeping and waking: park words, the waiting word and the doorbell, with threads and
/// with processes.
#include <libpool/ring/event_count.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <thread>

#include <libpool/detail/file_descriptor.hpp>
#include <tests/support/oracle.hpp>
#include <tests/support/replaced.hpp>

using namespace libpool;
using namespace libpool::ring;
using detail::system_calls;
using State = ParkWord::State;
using testing::Replaced;

namespace {

constexpr int patience_ms = 60'000;

struct Pipe {
  detail::FileDescriptor read_end;
  detail::FileDescriptor write_end;

  Pipe() {
    std::tie(read_end, write_end) = detail::create_descriptors(
        "pipe2", [](int* ends) { return ::pipe2(ends, O_CLOEXEC | O_NONBLOCK); });
  }
  [[nodiscard]] std::size_t take() const {
    std::size_t taken = 0;
    char bytes[512];
    for (ssize_t got = 0; (got = ::read(read_end.get(), bytes, sizeof bytes)) > 0;) {
      taken += static_cast<std::size_t>(got);
    }
    return taken;
  }
};

/// A value that a forked child shares with the test.
template <class T>
class Shared {
 public:
  Shared()
      : value_(*static_cast<T*>(::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { ::munmap(&value_, sizeof(T)); }
  T* operator->() const { return &value_; }

 private:
  T& value_;
};

/// What a producer counts up, and whom it rings for.
struct Doorstep {
  WaitingWord waiting;
  std::atomic<std::uint32_t> published;
  std::atomic<std::uint32_t> seen;
};

constexpr std::uint32_t things = 3000;

/// As a worker does: publish, then ring. Goes on once the consumer has seen it, so that the
/// consumer sleeps often.
void produce(Doorstep& step, int write_end) {
  Doorbell bell(step.waiting, write_end);
  for (std::uint32_t thing = 1; thing <= things; ++thing) {
    step.published = thing;
    bell.ring();
    while (step.seen.load() < thing) std::this_thread::yield();
  }
}

/// As the parent does. Returns how many sleeps nobody ended.
int consume(Doorstep& step, const Pipe& pipe) {
  int lost = 0;
  while (step.seen.load() < things && lost == 0) {
    step.waiting.announce();
    if (step.published.load() == step.seen.load()) {
      pollfd bell{pipe.read_end.get(), POLLIN, 0};
      if (::poll(&bell, 1, patience_ms) == 0) ++lost;
      (void)pipe.take();
    }
    step.waiting.clear();
    step.seen = step.published.load();
  }
  return lost;
}

ParkWord* woken_by_kernel = nullptr;
int kernel_returns = 0;

}  // namespace

TEST_CASE("a wake ends exactly the sleep that was announced for its reason") {
  for (const State announced :
       {State::running, State::looking, State::idle, State::blocked, State::notified}) {
    for (const State reason : {State::idle, State::blocked}) {
      ParkWord park{};
      park.announce(announced);
      CHECK(park.wake(reason) == (announced == reason));
      CHECK(park.state() == (announced == reason ? State::notified : announced));
      CHECK_FALSE(park.wake(reason));
    }
  }
}

TEST_CASE("a wake between the announcement and the sleep is not lost") {
  ParkWord park{};
  park.announce(State::idle);
  REQUIRE(park.wake(State::idle));
  const Replaced no_sleep(
      system_calls.futex_wait, +[](const std::uint32_t*, std::uint32_t, const timespec*) {
        std::abort();
        return -1;
      });
  park.sleep(State::idle);
  CHECK(park.state() == State::running);
}

TEST_CASE("a worker that stays is not woken") {
  ParkWord park{};
  park.announce(State::blocked);
  park.stay();
  CHECK_FALSE(park.wake(State::blocked));
  CHECK(park.state() == State::running);
}

TEST_CASE("returns of the kernel that nobody asked for do not end a sleep") {
  ParkWord park{};
  woken_by_kernel = &park;
  kernel_returns = 0;
  const Replaced restless(
      system_calls.futex_wait,
      +[](const std::uint32_t* word, std::uint32_t expected, const timespec*) {
        CHECK(*word == expected);
        if (++kernel_returns == 10) CHECK(woken_by_kernel->wake(State::idle));
        errno = kernel_returns % 2 == 0 ? EINTR : EAGAIN;
        return -1;
      });
  park.announce(State::idle);
  park.sleep(State::idle);
  CHECK(kernel_returns == 10);
  CHECK(park.state() == State::running);
}

TEST_CASE("a reset park word is that of a worker that runs") {
  ParkWord park{};
  park.announce(State::idle);
  park.reset();
  CHECK(park.state() == State::running);
}

TEST_CASE("a wake reaches a sleeper in another process") {
  const Shared<ParkWord> park;
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    for (int sleep = 0; sleep < 200; ++sleep) {
      const State reason = sleep % 2 == 0 ? State::idle : State::blocked;
      park->announce(reason);
      park->sleep(reason);
    }
    ::_exit(7);
  }
  for (int sleep = 0; sleep < 200; ++sleep) {
    const State reason = sleep % 2 == 0 ? State::idle : State::blocked;
    REQUIRE(oracle::eventually([&] { return park->wake(reason); }));
  }
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 7);
}

TEST_CASE("whoever sleeps by the rule is woken: no wake is lost between threads") {
  constexpr std::uint32_t rounds = 5000;
  ParkWord park{};
  std::atomic<std::uint32_t> published{0};
  std::atomic<std::uint32_t> seen{0};
  std::jthread worker([&] {
    for (std::uint32_t round = 1; round <= rounds; ++round) {
      // A wake may be a late one, of the round before.
      while (published.load() < round) {
        park.announce(State::idle);
        if (published.load() >= round) {
          park.stay();
        } else {
          park.sleep(State::idle);
        }
      }
      seen = round;
    }
  });
  std::uint32_t lost = 0;
  for (std::uint32_t round = 1; round <= rounds && lost == 0; ++round) {
    published = round;
    park.wake(State::idle);
    const auto limit = std::chrono::steady_clock::now() + testing::patience;
    while (seen.load() != round && lost == 0) {
      std::this_thread::yield();
      if (std::chrono::steady_clock::now() > limit) ++lost;
    }
  }
  CHECK(lost == 0);
  published = rounds;  // lets the worker end if the test fails
  park.wake(State::idle);
}

TEST_CASE("each sleep of the parent has a number of its own, and awake it has none") {
  WaitingWord waiting{};
  CHECK(waiting.sleeping() == 0);
  std::uint32_t last = 0;
  for (int sleep = 0; sleep < 1000; ++sleep) {
    waiting.announce();
    CHECK(waiting.sleeping() != 0);
    CHECK(waiting.sleeping() != last);
    last = waiting.sleeping();
    waiting.clear();
    CHECK(waiting.sleeping() == 0);
  }
}

TEST_CASE("a doorbell is silent while the parent is awake and rings once in each of its sleeps") {
  const Pipe pipe;
  WaitingWord waiting{};
  Doorbell first(waiting, pipe.write_end.get());
  Doorbell second(waiting, pipe.write_end.get());
  first.ring();
  CHECK(pipe.take() == 0);
  for (int sleep = 0; sleep < 3; ++sleep) {
    waiting.announce();
    first.ring();
    first.ring();
    CHECK(pipe.take() == 1);
    second.ring();
    second.ring();
    first.ring();
    CHECK(pipe.take() == 1);
    waiting.clear();
    first.ring();
    CHECK(pipe.take() == 0);
  }
}

TEST_CASE("a full pipe neither blocks a doorbell nor silences it in the next sleep") {
  const Pipe pipe;
  const char bytes[4096] = {};
  while (::write(pipe.write_end.get(), bytes, sizeof bytes) > 0) {
  }
  WaitingWord waiting{};
  Doorbell bell(waiting, pipe.write_end.get());
  waiting.announce();
  bell.ring();
  CHECK(pipe.take() > 0);
  waiting.clear();
  waiting.announce();
  bell.ring();
  CHECK(pipe.take() == 1);
}

TEST_CASE("a signal that interrupts a ring does not swallow it") {
  const Pipe pipe;
  WaitingWord waiting{};
  Doorbell bell(waiting, pipe.write_end.get());
  waiting.announce();
  static int interruptions;
  interruptions = 3;
  const Replaced interrupted(
      system_calls.write, +[](int fd, const void* from, std::size_t bytes) {
        if (interruptions-- > 0) {
          errno = EINTR;
          return ssize_t{-1};
        }
        return ::write(fd, from, bytes);
      });
  bell.ring();
  CHECK(pipe.take() == 1);
}

TEST_CASE("a parent that sleeps by the rule is rung awake by another thread") {
  const Pipe pipe;
  Doorstep step{};
  std::jthread worker([&] { produce(step, pipe.write_end.get()); });
  const int lost = consume(step, pipe);
  step.seen = things;  // lets the worker end if the test fails
  CHECK(lost == 0);
}

TEST_CASE("a parent that sleeps by the rule is rung awake by another process") {
  const Pipe pipe;
  const Shared<Doorstep> step;
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(100);
    produce(*step.operator->(), pipe.write_end.get());
    ::_exit(0);
  }
  const int lost = consume(*step.operator->(), pipe);
  step->seen = things;
  CHECK(lost == 0);
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}
