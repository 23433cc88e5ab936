/// Facts about the engine as a program sees it: which threads it starts, that it sleeps when there
/// is nothing to do, and what it notices.
#include <libpool/engine/engine.hpp>

#include <dirent.h>
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include <libpool/process_pool.hpp>
#include <tests/contract/contract.hpp>
#include <tests/support/core_parts.hpp>
#include <tests/support/oracle.hpp>
#include <tests/support/replaced.hpp>

using namespace libpool;
using detail::system_calls;
using oracle::eventually;
using testing::Replaced;

namespace {

std::vector<int> numbers(int count) {
  std::vector<int> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), 0);
  return values;
}

int twice(int value) { return 2 * value; }

std::set<std::string> entries(const std::string& directory) {
  std::set<std::string> names;
  DIR* const handle = ::opendir(directory.c_str());
  REQUIRE(handle != nullptr);
  while (const dirent* entry = ::readdir(handle)) {
    if (entry->d_name[0] != '.') names.insert(entry->d_name);
  }
  ::closedir(handle);
  return names;
}

std::size_t threads() { return entries("/proc/self/task").size(); }

/// CPU time that the threads of a process have used, in ns, by the scheduler's account. Not the
/// calling thread's.
std::uint64_t cpu_time(pid_t pid) {
  std::uint64_t sum = 0;
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  for (const std::string& thread : entries(tasks)) {
    if (thread == std::to_string(::gettid())) continue;
    std::uint64_t time = 0;
    std::ifstream(tasks + "/" + thread + "/schedstat") >> time;
    sum += time;
  }
  return sum;
}

/// Whether these processes use no CPU for a while, but for the calling thread.
bool come_to_rest(const std::vector<pid_t>& processes) {
  // ThreadSanitizer's own threads never rest.
  if (oracle::thread_sanitized) return true;
  const auto all = [&] {
    std::vector<std::uint64_t> times;
    for (const pid_t pid : processes) times.push_back(cpu_time(pid));
    return times;
  };
  return eventually([&] {
    const auto before = all();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    return all() == before;
  });
}

/// Workers, fork server and threads here.
bool comes_to_rest(ProcessPool& pool) {
  std::vector<pid_t> processes{::getpid()};
  for (const auto& worker : pool.stats().workers) processes.push_back(worker.pid);
  processes.push_back(oracle::parent_of(processes.back()));
  return come_to_rest(processes);
}

}  // namespace

TEST_CASE("a program that only maps and applies stays single-threaded") {
  const std::size_t before = threads();
  ProcessPool pool(2);
  CHECK(pool.map(&twice, numbers(1000))[999] == 1998);
  CHECK(pool.apply(&twice, 21) == 42);
  CHECK(pool.try_map(&twice, numbers(10)).size() == 10);
  (void)pool.stats();
  CHECK(threads() == before);
}

TEST_CASE("a call that does not block starts the background thread, and join ends it") {
  const std::size_t before = threads();
  ProcessPool pool(2);
  CHECK(pool.apply_async(&twice, 21).get() == 42);
  CHECK(threads() > before);
  pool.close();
  pool.join();
  CHECK(eventually([&] { return threads() == before; }));
}

TEST_CASE("background work goes on while nobody waits") {
  ProcessPool pool(2);
  auto result = pool.map_async(&twice, numbers(5000));
  CHECK(eventually([&] { return result.ready(); }));
  CHECK(result.get()[4999] == 9998);
}

TEST_CASE("an idle pool comes to rest: workers, fork server and background thread sleep") {
  ProcessPool pool(2);
  CHECK(comes_to_rest(pool));
  CHECK(pool.map(&twice, numbers(1000)).size() == 1000);
  CHECK(comes_to_rest(pool));
  CHECK(pool.apply_async(&twice, 1).get() == 2);
  CHECK(comes_to_rest(pool));
}

TEST_CASE("the background thread sleeps while a long task runs") {
  ProcessPool pool(2);
  const oracle::Fresh fresh;
  auto result = pool.apply_async(
      [](int) {
        oracle::pass_gate();
        return 1;
      },
      0);
  REQUIRE(oracle::arrived(1));
  CHECK(come_to_rest({::getpid()}));
  oracle::Fresh::open_gate();
  CHECK(result.get() == 1);
}

TEST_CASE("the death of an idle worker shows in the statistics though nobody calls the pool") {
  ProcessPool pool(2);
  const auto before = pool.stats();
  REQUIRE(before.workers.size() == 2);
  CHECK(before.workers_spawned == 2);
  const oracle::Watched victim(before.workers[0].pid);
  victim.kill(SIGKILL);
  REQUIRE(victim.dies());
  CHECK(eventually([&] { return pool.stats().workers_lost == 1; }));
  CHECK(eventually([&] { return pool.stats().workers.size() == 2; }));
  const auto after = pool.stats();
  CHECK(after.workers_spawned == 3);
  CHECK(after.crashed == 0);
  CHECK(after.workers[0].pid != before.workers[0].pid);
  CHECK(pool.map(&twice, numbers(100)).size() == 100);
}

TEST_CASE("statistics count what became of each item") {
  ProcessPool pool(2);
  (void)pool.try_map(
      [](int value) {
        if (value == 3) ::abort();
        if (value == 5) throw std::runtime_error("five");
        return value;
      },
      numbers(10), {.chunksize = 2});
  const auto stats = pool.stats();
  CHECK(stats.submitted == 10);
  CHECK(stats.succeeded == 8);
  CHECK(stats.failed == 1);
  CHECK(stats.crashed == 1);
  CHECK(stats.workers_lost == 1);
  CHECK(stats.queued == 0);
  CHECK(stats.running == 0);
}

namespace {

/// Its decoding in the parent cancels the batch that it is a result of.
struct Cancelling {
  static inline const pid_t host = ::getpid();
  static inline std::optional<AsyncResult<std::vector<Cancelling>>> batch;
  int number = 0;

  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & number;
    if (Archive::is_loading::value && ::getpid() == host) (void)batch->cancel();
  }
};

}  // namespace

TEST_CASE("an item whose batch is cancelled while its result is decoded is counted once") {
  ProcessPool pool(1);
  oracle::Fresh fresh;
  Cancelling::batch = pool.map_async(
      [](int number) {
        oracle::pass_gate();
        return Cancelling{number};
      },
      numbers(10), {.chunksize = 10});
  oracle::Fresh::open_gate();
  CHECK_THROWS_AS(Cancelling::batch->get(), TaskCancelled);
  Cancelling::batch.reset();
  pool.close();
  pool.join();
  const PoolStats stats = pool.stats();
  CHECK(stats.submitted == 10);
  CHECK(stats.succeeded > 0);
  CHECK(stats.succeeded + stats.cancelled == 10);
}

TEST_CASE("a pool that is terminated while workers hold chunks leaves nothing behind") {
  const oracle::Fresh fresh;
  ProcessPool pool(2);
  auto results = pool.map_async(
      [](int value) {
        oracle::pass_gate();
        return value;
      },
      numbers(100), {.chunksize = 1});
  REQUIRE(oracle::arrived(2));
  pool.terminate();
  CHECK_THROWS_AS((void)results.get(), PoolTerminated);
}

TEST_CASE("payloads and results larger than all rings pass") {
  ProcessPool pool(2, {.task_memory = 1 << 16, .result_ring = 4096});
  const auto reversed = [](const std::string& text) {
    return std::string(text.rbegin(), text.rend());
  };
  for (const std::size_t size : {4095u, 4096u, 4097u, 1u << 14, (1u << 14) + 1, 3'000'000u}) {
    std::string text(size, 'a');
    text.front() = 'z';
    const std::string back = pool.apply(reversed, text);
    CHECK(back.size() == size);
    CHECK(back.back() == 'z');
  }
}

namespace {

/// Lets a worker claim at a moment of the test's choice, by the system calls around it.
namespace claiming {

enum Word : std::size_t { asleep, may_claim, waits_for_payload, parent_slept };
decltype(system_calls.futex_wait) real_futex_wait;
decltype(system_calls.poll) real_poll;
decltype(system_calls.ppoll) real_ppoll;

int futex_wait(const std::uint32_t* word, std::uint32_t expected, const timespec* timeout) {
  oracle::page.words[asleep] = 1;
  const int result = real_futex_wait(word, expected, timeout);
  while (oracle::page.words[may_claim] == 0) ::usleep(10);
  return result;
}
int poll(pollfd* fds, nfds_t count, int timeout_ms) {
  // The fork server waits for more, and the parent for less.
  if (count == 1 && timeout_ms < 0) oracle::page.words[waits_for_payload] = 1;
  return real_poll(fds, count, timeout_ms);
}
/// The parent's sleep. If it comes before the claim, then no later round does.
int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  if (oracle::page.words[may_claim].exchange(1) == 0) oracle::page.words[parent_slept] = 1;
  return real_ppoll(fds, count, timeout, mask);
}

/// Submits a payload that the worker claims after so many of the driver's rounds. False if it never
/// gets it.
bool claimed_after(engine::Engine& core, int round, bool& slept) {
  auto& words = oracle::page.words;
  if (!eventually([&] { return words[asleep] != 0; })) return false;
  for (auto& word : words) word = 0;
  auto batch = std::make_shared<testing::TestBatch>();
  core.submit(batch, std::make_unique<testing::TestCodec>(
                         batch, testing::Script{.items = {std::string(40'000, 'x')}}));
  int rounds = 0;
  const auto ready = [&] {
    if (++rounds == round) {
      words[may_claim] = 1;
      (void)eventually([&] { return words[waits_for_payload] != 0; });
    }
    return !batch->outcomes.empty();
  };
  const bool done = core.wait(*batch, ready, detail::Clock::now() + testing::patience);
  slept = words[parent_slept] != 0;
  return done;
}

}  // namespace claiming
}  // namespace

TEST_CASE("a payload of own memory is handed over whenever it is claimed") {
  claiming::real_futex_wait = system_calls.futex_wait;
  claiming::real_poll = system_calls.poll;
  claiming::real_ppoll = system_calls.ppoll;
  const Replaced futex_wait(system_calls.futex_wait, &claiming::futex_wait);
  const Replaced poll(system_calls.poll, &claiming::poll);
  const PoolOptions options{.task_memory = 64 << 10};
  const auto core = std::make_shared<engine::Engine>(engine::describe(1, options), options);
  const Replaced ppoll(system_calls.ppoll, &claiming::ppoll);
  // The worker claims after each of the driver's rounds in turn, up to the last before its sleep.
  bool slept = false;
  for (int round = 1; !slept; ++round) {
    CAPTURE(round);
    REQUIRE(claiming::claimed_after(*core, round, slept));
  }
  core->terminate();
  core->join();
}

TEST_CASE("memory that was missing when a chunk came is tried for again though the driver slept") {
  using contract::Script;
  oracle::Fresh fresh;
  Script scripts[4];  // inputs that wait with all of the arena in their hands
  ProcessPool pool(2, {.task_memory = std::size_t{1} << 20});
  constexpr std::size_t size = std::size_t{200} << 10;
  const auto length = [](const std::string& text) { return text.size(); };
  const auto large = [](int) { return std::string(size, 'x'); };
  std::vector<ResultRange<std::size_t>> streams;
  for (Script& script : scripts) {
    script.items = 2;
    script.waits_at = 1;
    streams.push_back(pool.imap(length, contract::Scripted(script) | std::views::transform(large)));
  }
  for (auto& stream : streams) CHECK(stream.next() == size);
  for (const Script& script : scripts) {
    CHECK(oracle::eventually([&] { return script.waits.load(); }));
  }
  const auto blocked = pool.apply_async(contract::wait_at_gate, 0);
  CHECK(oracle::arrived(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // the driver falls asleep
  static bool missed;
  missed = false;
  const Replaced once(
      system_calls.memfd_create, +[](const char* name, unsigned flags) {
        if (!std::exchange(missed, true)) return errno = EMFILE, -1;
        return ::memfd_create(name, flags);
      });
  const auto call = pool.apply_async(length, std::string(size, 'y'));
  CHECK(call.wait(std::chrono::seconds(10)));  // sooner than the inputs give up
  CHECK(missed);
  oracle::Fresh::open_gate();
  for (Script& script : scripts) script.release = true;
  CHECK(blocked.get() == 0);
}

TEST_CASE("a pool whose arena cannot grow works with what it has") {
  ProcessPool pool(2, {.task_memory = 1 << 24});
  const Replaced full(
      system_calls.fallocate, +[](int, int, off_t, off_t) { return errno = ENOSPC, -1; });
  const std::vector<std::string> texts(400, std::string(5000, 'x'));
  const auto sizes =
      pool.map([](const std::string& text) { return text.size(); }, texts, {.chunksize = 1});
  CHECK(std::accumulate(sizes.begin(), sizes.end(), std::size_t{0}) == 400 * 5000);
}

TEST_CASE("a pool that cannot have what it needs is refused, and nothing is left of it") {
  const auto refused = [] { CHECK_THROWS_AS(ProcessPool(2), std::system_error); };
  {
    const Replaced broken(system_calls.eventfd, +[](unsigned, int) { return errno = EMFILE, -1; });
    refused();
  }
  {
    const Replaced broken(system_calls.fork, +[] { return errno = EAGAIN, pid_t{-1}; });
    refused();
  }
  const Replaced broken(
      system_calls.memfd_create, +[](const char*, unsigned) { return errno = ENOMEM, -1; });
  refused();
}

TEST_CASE("a pool in another process is refused and touched by nobody") {
  ProcessPool pool(2);
  CHECK(oracle::exit_of_child([&] {
          try {
            (void)pool.apply(&twice, 1);
            return 1;
          } catch (const PoolError&) {
            return 0;
          }
        }) == 0);
  CHECK(pool.apply(&twice, 1) == 2);
}
