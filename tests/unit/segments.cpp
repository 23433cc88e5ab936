/// Facts about a pool's shared memory as the parent makes it: sizes made fit, memory reserved
/// before it is used, seals.
#include <libpool/engine/segments.hpp>

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <stdexcept>
#include <system_error>

#include <tests/support/replaced.hpp>

using namespace libpool;
using detail::system_calls;
using engine::describe;
using engine::Segments;

namespace {

std::size_t reserved_bytes(int fd) {
  struct stat status{};
  REQUIRE(::fstat(fd, &status) == 0);
  return static_cast<std::size_t>(status.st_blocks) * 512;
}

int calls_left;

}  // namespace

TEST_CASE("a description has the sizes asked for, made fit for the rings") {
  const auto pool = describe(3, {.max_tasks_per_child = 7,
                                 .memory_limit = 1000,
                                 .task_slots = 100,
                                 .task_memory = 5'000'000,
                                 .result_ring = 5000,
                                 .worker_memory = 6000,
                                 .core_dumps = true});
  CHECK(pool.workers == 3);
  CHECK(pool.task_slots == 128);
  CHECK(pool.task_memory == std::uint64_t{1} << 23);
  CHECK(pool.result_ring == 8192);
  CHECK(pool.memory_limit == 1000);
  CHECK(pool.worker_memory == 6000);
  CHECK(pool.max_tasks == 7);
  CHECK(pool.core_dumps == 1);
  CHECK(pool.host == ::getpid());
}

TEST_CASE("sizes have a least value, slots one for each worker count") {
  const auto pool = describe(200, {.task_slots = 1, .task_memory = 1, .result_ring = 1});
  CHECK(pool.task_slots == 1024);
  CHECK(pool.task_memory == 65536);
  CHECK(pool.result_ring == 4096);
  CHECK(pool.memory_limit == UINT64_MAX);
  CHECK(pool.max_tasks == UINT64_MAX);
}

TEST_CASE("options that make no sense are refused") {
  CHECK_THROWS_AS((void)describe(0, {}), std::invalid_argument);
  CHECK_THROWS_AS((void)describe(4097, {}), std::invalid_argument);
  CHECK_THROWS_AS((void)describe(SIZE_MAX, {}), std::invalid_argument);
  CHECK_NOTHROW((void)describe(4096, {}));
  CHECK_THROWS_AS((void)describe(1, {.max_tasks_per_child = 0}), std::invalid_argument);
  CHECK_THROWS_AS((void)describe(1, {.task_slots = 0}), std::invalid_argument);
  CHECK_THROWS_AS((void)describe(1, {.task_slots = SIZE_MAX}), std::invalid_argument);
  CHECK_THROWS_AS((void)describe(1, {.task_memory = 0}), std::invalid_argument);
  CHECK_THROWS_AS((void)describe(1, {.task_memory = SIZE_MAX}), std::invalid_argument);
  CHECK_THROWS_AS((void)describe(1, {.result_ring = 0}), std::invalid_argument);
  CHECK_THROWS_AS((void)describe(1, {.result_ring = SIZE_MAX}), std::invalid_argument);
  CHECK_THROWS_AS((void)describe(1, {.window = 0}), std::invalid_argument);
  CHECK_THROWS_AS((void)describe(1, {.unexplained_deaths = 0}), std::invalid_argument);
  CHECK_THROWS_AS((void)describe(1, {.helper_threads = 0}), std::invalid_argument);
  CHECK_THROWS_AS((void)describe(1, {.bundle_time = std::chrono::nanoseconds{-1}}),
                  std::invalid_argument);
  CHECK_THROWS_AS((void)describe(1, {.bundle_time = std::chrono::seconds{2}}),
                  std::invalid_argument);
}

TEST_CASE("claims are reserved whole, lanes and arena as they grow, so that no touch is a SIGBUS") {
  const auto pool = describe(2, {.task_memory = 1 << 20});
  Segments segments(pool);
  const auto fds = segments.descriptors();
  CHECK(reserved_bytes(fds.claims) == ring::ClaimLayout(pool).total());
  const ring::LaneLayout lanes(pool);
  CHECK(lanes.first() == 4096 + pool.result_ring / 4);
  CHECK(reserved_bytes(fds.lanes) == 2 * lanes.first());
  auto readers = segments.readers();
  ring::RecordHeader fragment{};
  fragment.bytes = 2 * static_cast<std::uint32_t>(pool.result_ring);
  readers[1].pass(fragment);
  CHECK(reserved_bytes(fds.lanes) == lanes.first() + lanes.stride());
  CHECK(readers[0].lane().granted == 0);
  CHECK(readers[1].lane().granted == 1);
  const std::size_t arena_offset = ring::TaskLayout(pool).arena_offset();
  CHECK(reserved_bytes(fds.tasks) < (1 << 20));
  memory::Arena arena = segments.arena();
  CHECK(reserved_bytes(fds.tasks) == arena_offset + arena.committed());
  REQUIRE(arena.allocate(1 << 20));
  CHECK(arena.committed() == 1 << 20);
  CHECK(reserved_bytes(fds.tasks) == arena_offset + (1 << 20));
}

TEST_CASE("a lane that cannot grow grants nothing") {
  Segments segments(describe(1, {}));
  auto readers = segments.readers();
  const testing::Replaced full(
      system_calls.fallocate, +[](int, int, off_t, off_t) { return errno = ENOSPC, -1; });
  ring::RecordHeader fragment{};
  fragment.bytes = 1 << 30;
  readers[0].pass(fragment);
  CHECK(readers[0].lane().granted == 0);
}

TEST_CASE("an arena that cannot grow says so") {
  Segments segments(describe(1, {.task_memory = 1 << 20}));
  memory::Arena arena = segments.arena();
  const testing::Replaced full(
      system_calls.fallocate, +[](int, int, off_t, off_t) { return errno = ENOSPC, -1; });
  CHECK_FALSE(arena.allocate(1 << 20));
  CHECK(arena.allocate(1 << 10));
}

TEST_CASE("no other process can write into the tasks, while this one can") {
  const auto pool = describe(2, {});
  const Segments segments(pool);
  CHECK_THROWS_AS(
      (void)memory::map(segments.descriptors().tasks, 0, 4096, memory::Access::read_write),
      std::system_error);
  segments.stops()[1].request();
  const auto seen = memory::map(segments.descriptors().tasks, 0, 4096, memory::Access::read_only);
  CHECK(ring::TaskLayout(pool).stops(memory::address(seen))[1].requested());
}

TEST_CASE("each reader reads the lane that its worker maps") {
  const auto pool = describe(3, {});
  Segments segments(pool);
  const ring::LaneLayout layout(pool);
  const auto readers = segments.readers();
  REQUIRE(readers.size() == 3);
  for (std::uint32_t worker = 0; worker < 3; ++worker) {
    const auto lane = memory::map(segments.descriptors().lanes, layout.offset(worker),
                                  layout.stride(), memory::Access::read_write);
    layout.header(memory::address(lane)).busy = worker + 10;
    CHECK(readers[worker].busy() == worker + 10);
  }
}

TEST_CASE("without memory or descriptors a pool is refused, and nothing is left of it") {
  const auto pool = describe(2, {});
  for (int succeed = 0; succeed < 3; ++succeed) {
    calls_left = succeed;
    const testing::Replaced few(
        system_calls.fallocate, +[](int fd, int mode, off_t offset, off_t bytes) {
          return calls_left-- > 0 ? ::fallocate(fd, mode, offset, bytes) : (errno = ENOSPC, -1);
        });
    CHECK_THROWS_AS(Segments{pool}, std::system_error);
  }
  const testing::Replaced none(system_calls.pipe2, +[](int*, int) { return errno = EMFILE, -1; });
  CHECK_THROWS_AS(Segments{pool}, std::system_error);
}
