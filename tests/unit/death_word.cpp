/// Facts about the death word: the kernel marks it at the end of its thread, and no sooner.
#include <libpool/ring/death_word.hpp>

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <new>

#include <libpool/detail/system.hpp>
#include <tests/support/oracle.hpp>

using libpool::detail::system_calls;
using libpool::ring::DeathWord;

namespace {

/// What the test shares with its child.
struct Shared {
  DeathWord death;
  pthread_mutex_t mutex;  ///< of the child's own, robust
};

Shared& map_shared() {
  void* memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  return *new (memory) Shared{};
}

void init_robust(pthread_mutex_t& mutex) {
  pthread_mutexattr_t robust;
  ::pthread_mutexattr_init(&robust);
  ::pthread_mutexattr_setpshared(&robust, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
  ::pthread_mutex_init(&mutex, &robust);
  ::pthread_mutexattr_destroy(&robust);
}

/// Forks the word's owner, which has armed it and dies once the gate is open.
pid_t fork_owner(Shared& shared, bool killed) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(120);
    shared.death.arm();
    oracle::pass_gate();
    if (killed) ::kill(::getpid(), SIGKILL);
    ::_exit(0);
  }
  CHECK(oracle::arrived(1));
  return child;
}

}  // namespace

TEST_CASE("a death word is marked by the death of its thread, however it dies") {
  for (const bool killed : {true, false}) {
    CAPTURE(killed);
    oracle::Fresh fresh;
    Shared& shared = map_shared();
    const pid_t child = fork_owner(shared, killed);
    CHECK(shared.death.value() != 0);
    CHECK_FALSE(DeathWord::marked(shared.death.value()));
    oracle::Fresh::open_gate();
    ::waitpid(child, nullptr, 0);
    CHECK(DeathWord::marked(shared.death.value()));
    ::munmap(&shared, sizeof shared);
  }
}

TEST_CASE("whoever waits at a death word is woken by the death") {
  oracle::Fresh fresh;
  Shared& shared = map_shared();
  const pid_t child = fork_owner(shared, true);
  const std::uint32_t armed = shared.death.value();
  const pid_t waiter = ::fork();
  if (waiter == 0) {
    ::alarm(120);
    ++oracle::page.words[0];
    while (!DeathWord::marked(shared.death.value())) {
      system_calls.futex_wait(shared.death.word(), armed, nullptr);
    }
    ::_exit(5);
  }
  CHECK(oracle::eventually([&] { return oracle::process_field(waiter, 0) == "S"; }));
  oracle::Fresh::open_gate();
  int status = 0;
  ::waitpid(waiter, &status, 0);
  CHECK(WEXITSTATUS(status) == 5);
  ::waitpid(child, nullptr, 0);
  ::munmap(&shared, sizeof shared);
}

TEST_CASE("robust mutexes of the thread's own are found, too, locked before or after") {
  for (const bool before : {true, false}) {
    CAPTURE(before);
    Shared& shared = map_shared();
    init_robust(shared.mutex);
    const pid_t child = ::fork();
    if (child == 0) {
      if (before) ::pthread_mutex_lock(&shared.mutex);
      shared.death.arm();
      if (!before) ::pthread_mutex_lock(&shared.mutex);
      ::_exit(0);
    }
    ::waitpid(child, nullptr, 0);
    CHECK(DeathWord::marked(shared.death.value()));
    CHECK(::pthread_mutex_lock(&shared.mutex) == EOWNERDEAD);
    ::pthread_mutex_consistent(&shared.mutex);
    ::pthread_mutex_unlock(&shared.mutex);
    ::munmap(&shared, sizeof shared);
  }
}

TEST_CASE("the next owner arms the word of a dead one again") {
  Shared& shared = map_shared();
  for (int owner = 0; owner < 3; ++owner) {
    oracle::Fresh fresh;
    const pid_t child = fork_owner(shared, false);
    CHECK_FALSE(DeathWord::marked(shared.death.value()));
    oracle::Fresh::open_gate();
    ::waitpid(child, nullptr, 0);
    CHECK(DeathWord::marked(shared.death.value()));
  }
  ::munmap(&shared, sizeof shared);
}
