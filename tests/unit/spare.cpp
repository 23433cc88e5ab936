/// Facts about the spare worker: when there is one, that it takes the place of the dead, what it
/// sees of deaths before the kernel reports them, and that nothing depends on it.
#include <worker/spare.hpp>

#include <doctest/doctest.h>
#include <pthread.h>
#include <sys/mman.h>

#include <csignal>
#include <fstream>
#include <vector>

#include <libpool/detail/fork_process.hpp>
#include <libpool/libpool.hpp>
#include <tests/support/replaced.hpp>
#include <tests/support/server_fixture.hpp>
#include <worker/children.hpp>

using namespace libpool;
using namespace libpool::testing;
using detail::system_calls;
using worker::Report;
using worker::WorkerStart;

namespace {

std::vector<pid_t> children_of(pid_t process) {
  const std::string number = std::to_string(process);
  std::ifstream list("/proc/" + number + "/task/" + number + "/children");
  std::vector<pid_t> children;
  for (pid_t child = 0; list >> child;) children.push_back(child);
  return children;
}

/// The one child of the server, beside the worker, or 0 if there comes none.
pid_t spare_beside(pid_t server, pid_t worker) {
  pid_t spare = 0;
  (void)oracle::eventually([&] {
    const std::vector<pid_t> children = children_of(server);
    for (const pid_t child : children) spare = child != worker ? child : spare;
    return children.size() == 2;
  });
  return spare;
}

ring::DeathWord& map_death_word(const WorkerStart& start) {
  const ring::LaneLayout layout(start.pool);
  void* lane = ::mmap(nullptr, layout.stride(), PROT_READ | PROT_WRITE, MAP_SHARED,
                      start.descriptors.lanes, static_cast<off_t>(layout.offset(start.index)));
  if (lane == MAP_FAILED) ::_exit(1);
  return layout.header(static_cast<std::byte*>(lane)).death;
}

[[noreturn]] void wait_armed(const WorkerStart& start) {
  map_death_word(start).arm();
  ++oracle::page.words[0];
  for (;;) ::pause();
}

/// Unless word 1 is 0 nobody is reaped: a stand-in for a process whose end takes the kernel long.
int wait_unless_told(idtype_t kind, id_t id, siginfo_t* info, int options) {
  if (oracle::page.words[1] == 0) return ::waitid(kind, id, info, options);
  info->si_pid = 0;
  return 0;
}

/// Word 0 is the error that the replaced calls give, and word 2 counts these; 0: they do their
/// work.
bool fails() {
  errno = static_cast<int>(oracle::page.words[0]);
  oracle::page.words[2] += errno != 0 ? 1 : 0;
  return errno != 0;
}

int square(int x) { return x * x; }
int square_or_die(int x) {
  if (x == 7) ::kill(::getpid(), SIGKILL);
  return x * x;
}

int die_once(int x) {
  oracle::count_execution(x);
  if (oracle::executions(x) == 1) ::kill(::getpid(), SIGKILL);
  return x * x;
}

}  // namespace

TEST_CASE("a quiet server has a spare, which takes the place of the next that dies") {
  TestPool pool(1, &sleep_for_ever);
  pool.server.spawn(0, 1, 1);
  pid_t worker = pool.expect(Kind::spawned).report.pid;
  for (std::uint32_t generation = 2; generation < 6; ++generation) {
    const pid_t spare = spare_beside(pool.server.pid(), worker);
    REQUIRE(spare != 0);
    ::kill(worker, SIGKILL);
    CHECK(pool.expect(Kind::exited).report.pid == worker);
    pool.server.spawn(0, 1, generation);
    const Event next = pool.expect(Kind::spawned);
    CHECK(next.report.pid == spare);
    CHECK(next.report.generation == generation);
    CHECK((next.pidfd && next.socket));
    worker = spare;
  }
}

TEST_CASE("a spare that is called is a worker like others") {
  oracle::Fresh fresh;
  TestPool pool(3, [](const WorkerStart& start) {
    const std::uint32_t told[] = {start.index, start.generation};
    if (::write(start.socket, told, sizeof told) < 0) ::_exit(1);
    wait_armed(start);
  });
  pool.server.spawn(0, 1, 1);
  const Event first = pool.expect(Kind::spawned);
  REQUIRE(oracle::eventually([&] { return children_of(pool.server.pid()).size() == 2; }));
  pool.server.spawn(2, 1, 9);
  const Event event = pool.expect(Kind::spawned);
  std::uint32_t told[2] = {};
  pollfd socket{event.socket.get(), POLLIN, 0};
  REQUIRE(::poll(&socket, 1, 60'000) == 1);
  CHECK(::read(event.socket.get(), told, sizeof told) == sizeof told);
  CHECK(told[0] == 2);
  CHECK(told[1] == 9);
  ::kill(event.report.pid, SIGSEGV);
  const Report end = pool.expect(Kind::exited).report;
  CHECK(end.worker == 2);
  CHECK(end.status == SIGSEGV);
}

TEST_CASE("a spare that is killed is missed by nobody, and the next worker brings another") {
  TestPool pool(1, &sleep_for_ever);
  pool.server.spawn(0, 1, 1);
  const pid_t worker = pool.expect(Kind::spawned).report.pid;
  const pid_t spare = spare_beside(pool.server.pid(), worker);
  REQUIRE(spare != 0);
  ::kill(spare, SIGKILL);
  CHECK(oracle::eventually([&] { return children_of(pool.server.pid()).size() == 1; }));
  ::kill(worker, SIGKILL);
  CHECK(pool.expect(Kind::exited).report.status == SIGKILL);
  pool.server.spawn(0, 1, 2);
  const pid_t next = pool.expect(Kind::spawned).report.pid;
  CHECK(spare_beside(pool.server.pid(), next) != 0);
}

TEST_CASE("without memory for a spare, a process or a descriptor, the server goes on without one") {
  oracle::Fresh fresh;
  const auto goes_on = [] {
    TestPool pool(1, [](const WorkerStart&) { ::_exit(4); });
    // A spare that is there before the calls fail is used up by the next worker.
    for (std::uint32_t generation = 1; generation < 40 && oracle::page.words[2] == 0;) {
      oracle::page.words[0] = 0;
      CHECK(pool.run_one(generation++).status == 4);
      oracle::page.words[0] = EAGAIN;
      ::usleep(20'000);
    }
    CHECK(oracle::page.words[2] != 0);
    oracle::page.words[0] = 0;
    CHECK(pool.run_one(40).status == 4);
  };
  SUBCASE("memory") {
    const Replaced replaced(
        system_calls.mmap,
        +[](void* where, std::size_t bytes, int protection, int flags, int fd,
            off_t offset) -> void* {
          if ((flags & MAP_SHARED) != 0 && fails()) return MAP_FAILED;
          return ::mmap(where, bytes, protection, flags, fd, offset);
        });
    goes_on();
  }
  SUBCASE("a process") {
    const Replaced replaced(system_calls.fork, +[] { return fails() ? pid_t{-1} : ::fork(); });
    goes_on();
  }
  SUBCASE("a descriptor") {
    const Replaced replaced(
        system_calls.pidfd_open, +[](pid_t pid, unsigned flags) {
          return fails() ? -1 : static_cast<int>(::syscall(SYS_pidfd_open, pid, flags));
        });
    goes_on();
  }
}

TEST_CASE("a spare ends with its server, however that ends") {
  for (const bool killed : {false, true}) {
    CAPTURE(killed);
    TestPool pool(1, &sleep_for_ever);
    pool.server.spawn(0, 1, 1);
    const Event worker = pool.expect(Kind::spawned);
    const oracle::Watched spare(spare_beside(pool.server.pid(), worker.report.pid));
    REQUIRE(spare.found());
    if (killed) ::kill(pool.server.pid(), SIGKILL);
    pool.server.shut_down();
    CHECK((killed ? spare.dies() : spare.dead()));
  }
}

TEST_CASE("a death is reported, and the place filled, before the dead can be reaped") {
  oracle::Fresh fresh;
  const Replaced replaced(system_calls.waitid, &wait_unless_told);
  TestPool pool(2, &wait_armed);
  pool.server.spawn(1, 1, 1);
  const pid_t worker = pool.expect(Kind::spawned).report.pid;
  REQUIRE(spare_beside(pool.server.pid(), worker) != 0);
  REQUIRE(oracle::eventually([] { return oracle::page.words[0] == 1; }));
  oracle::page.words[1] = 1;
  ::kill(worker, SIGKILL);
  const Report end = pool.expect(Kind::exited).report;
  CHECK(end.worker == 1);
  CHECK(end.pid == worker);
  CHECK(end.code == CLD_KILLED);
  CHECK(end.status == SIGKILL);
  pool.server.spawn(1, 1, 2);
  CHECK(pool.expect(Kind::spawned).report.generation == 2);
  CHECK(::kill(worker, 0) == 0);
  oracle::page.words[1] = 0;
  pool.server.shut_down();
  CHECK(::kill(worker, 0) == -1);
}

TEST_CASE("a pool settles what a worker held that cannot be reaped yet, and ends only with it") {
  oracle::Fresh fresh;
  const Replaced replaced(system_calls.waitid, &wait_unless_told);
  pid_t victim = 0;
  {
    ProcessPool pool(1);
    CHECK(pool.apply(square, 3) == 9);
    const pid_t worker = pool.stats().workers.at(0).pid;
    REQUIRE(spare_beside(oracle::parent_of(worker), worker) != 0);
    oracle::page.words[1] = 1;
    const std::vector<int> input{1, 7, 3};
    const auto outcomes = pool.try_map(square_or_die, input, {.chunksize = 3});
    CHECK(outcomes[0].value() == 1);
    CHECK(outcomes[2].value() == 9);
    try {
      (void)outcomes[1].value();
      FAIL("no error");
    } catch (const WorkerCrashed& crash) {
      CHECK(crash.signal() == SIGKILL);
      victim = crash.pid();
    }
    CHECK(victim == worker);
    CHECK(::kill(victim, 0) == 0);
    oracle::page.words[1] = 0;
  }
  CHECK(::kill(victim, 0) == -1);
}

TEST_CASE(
    "an item is tried again when the kernel has ended the process that it crashed, not before") {
  oracle::Fresh fresh;
  // While word 3 says so, no process is at its end.
  const Replaced replaced(
      system_calls.poll, +[](pollfd* fds, nfds_t count, int timeout_ms) {
        if (count == 1 && timeout_ms == 0 && oracle::page.words[3] != 0) return 0;
        return ::poll(fds, count, timeout_ms);
      });
  ProcessPool pool(1);
  CHECK(pool.apply(square, 3) == 9);
  const pid_t worker = pool.stats().workers.at(0).pid;
  REQUIRE(spare_beside(oracle::parent_of(worker), worker) != 0);
  const oracle::Watched watched(worker);
  oracle::page.words[3] = 1;
  const auto again = pool.map_async(die_once, std::vector<int>{7}, {.retries = 1});
  CHECK(watched.dies());
  ::usleep(50'000);  // in which no correct pool begins
  CHECK(oracle::executions(7) == 1);
  oracle::page.words[3] = 0;
  CHECK(again.get()[0] == 49);
  CHECK(oracle::executions(7) == 2);
}

TEST_CASE("a word that lies about a death changes nothing") {
  oracle::Fresh fresh;
  TestPool pool(1, [](const WorkerStart& start) {
    ring::DeathWord& death = map_death_word(start);
    death.arm();
    auto* const word = const_cast<std::uint32_t*>(death.word());
    __atomic_fetch_or(word, FUTEX_OWNER_DIED, __ATOMIC_RELAXED);
    for (;;) {
      system_calls.futex_wake(word, 1);
      ::usleep(1000);
    }
  });
  pool.server.spawn(0, 1, 1);
  const Event worker = pool.expect(Kind::spawned);
  REQUIRE(spare_beside(pool.server.pid(), worker.report.pid) != 0);
  ::usleep(50'000);  // lets the spare tell it, which no correct server believes
  pollfd channel{pool.server.channel(), POLLIN, 0};
  CHECK(::poll(&channel, 1, 0) == 0);
  CHECK_FALSE(oracle::Watched(worker.report.pid).dead());
}

TEST_CASE("what the kernel says of a child that ends") {
  const worker::Children children;
  const auto ending = [&](auto body) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(120);
      body();
      ::_exit(1);
    }
    CHECK(oracle::eventually([&] { return oracle::process_field(child, 0) == "Z"; }));
    const siginfo_t end = children.ending(child);
    ::waitpid(child, nullptr, 0);
    if (end.si_pid != 0) CHECK(end.si_pid == child);
    return end;
  };
  const siginfo_t exited = ending([] { ::_exit(3); });
  CHECK(exited.si_pid != 0);
  CHECK(exited.si_code == CLD_EXITED);
  CHECK(exited.si_status == 3);
  const siginfo_t killed = ending([] { ::kill(::getpid(), SIGTERM); });
  CHECK(killed.si_pid != 0);
  CHECK(killed.si_code == CLD_KILLED);
  CHECK(killed.si_status == SIGTERM);
  // Status 0 looks like a status that is kept from us.
  CHECK(ending([] { ::_exit(0); }).si_pid == 0);
  CHECK(children.ending(::getpid()).si_pid == 0);
}

TEST_CASE("a process whose first thread has ended while others run is not ending") {
  oracle::Fresh fresh;
  const worker::Children children;
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(120);
    pthread_t thread;
    ::pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
          for (;;) ::pause();
        },
        nullptr);
    ::syscall(SYS_exit, 5);
  }
  CHECK(oracle::eventually([&] { return oracle::process_field(child, 0) == "Z"; }));
  CHECK(children.ending(child).si_pid == 0);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST_CASE("a stopped process is not ending, though it has a status, too") {
  const worker::Children children;
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(120);
    for (;;) ::pause();
  }
  ::kill(child, SIGSTOP);
  CHECK(oracle::eventually([&] { return oracle::stopped(child); }));
  CHECK(children.ending(child).si_pid == 0);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}
