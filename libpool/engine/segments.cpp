/// The shared memory of one pool. Runs in the parent; see the header.
#include <libpool/engine/segments.hpp>

#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <system_error>

#include <libpool/detail/pool_calls.hpp>
#include <libpool/detail/system.hpp>

namespace libpool::engine {

namespace {

/// Of the arena, reserved at the start; it doubles when it is full.
constexpr std::size_t first_arena = std::size_t{128} << 10;

constexpr std::size_t smallest_arena = std::size_t{64} << 10;
constexpr std::size_t smallest_ring = 4096;
constexpr std::size_t largest_bound = std::size_t{1} << 40;

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(what);
}

bool try_reserve(memory::MemoryFile& file, std::size_t offset, std::size_t bytes) {
  try {
    file.reserve(offset, bytes);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

ring::PoolDescription describe(std::size_t workers, const PoolOptions& options) {
  detail::check_pool_arguments(workers, options);
  require(options.task_slots != 0 && options.task_slots <= (std::size_t{1} << 20),
          "libpool: task_slots is out of range");
  require(options.task_memory != 0 && options.task_memory <= largest_bound,
          "libpool: task_memory is out of range");
  require(options.result_ring != 0 && options.result_ring <= ring::largest_result_ring,
          "libpool: result_ring is out of range");
  require(options.bundle_time.count() >= 0 && options.bundle_time <= std::chrono::seconds{1},
          "libpool: bundle_time is out of range");
  require(options.unexplained_deaths != 0, "libpool: unexplained_deaths is zero");
  require(options.helper_threads != 0, "libpool: helper_threads is zero");
  ring::PoolDescription pool;
  pool.workers = static_cast<std::uint32_t>(workers);
  pool.task_slots =
      static_cast<std::uint32_t>(std::bit_ceil(std::max(options.task_slots, 4 * workers)));
  pool.task_memory = std::bit_ceil(std::max(options.task_memory, smallest_arena));
  pool.result_ring = std::bit_ceil(std::max(options.result_ring, smallest_ring));
  pool.memory_limit = options.memory_limit.value_or(UINT64_MAX);
  pool.worker_memory = options.worker_memory;
  pool.max_tasks = options.max_tasks_per_child.value_or(UINT64_MAX);
  pool.core_dumps = options.core_dumps ? 1 : 0;
  pool.host = detail::system_calls.getpid();
  return pool;
}

Segments::Segments(const ring::PoolDescription& pool)
    : pool_(pool),
      task_layout_(pool),
      claim_layout_(pool),
      lane_layout_(pool),
      tasks_(memory::MemoryFile::create("libpool-tasks", task_layout_.total())),
      claims_(memory::MemoryFile::create("libpool-claims", claim_layout_.total())),
      lanes_(memory::MemoryFile::create("libpool-lanes", lane_layout_.total())) {
  using memory::Access;
  tasks_.reserve(
      0, task_layout_.arena_offset() + std::min<std::size_t>(first_arena, pool.task_memory));
  claims_.reserve(0, claim_layout_.total());
  for (std::uint32_t worker = 0; worker < pool.workers; ++worker) {
    lanes_.reserve(lane_layout_.offset(worker), lane_layout_.first());
  }
  task_region_ = memory::map(tasks_.fd(), 0, task_layout_.total(), Access::read_write);
  claim_region_ = memory::map(claims_.fd(), 0, claim_layout_.total(), Access::read_write);
  lane_region_ = memory::map(lanes_.fd(), 0, lane_layout_.total(), Access::read_write);
  for (const auto* region : {&task_region_, &claim_region_, &lane_region_}) {
    memory::keep_from_children(*region);
  }
  // This process keeps its writable mapping; no other can make one.
  tasks_.seal();
  std::tie(doorbell_read_, doorbell_write_) = detail::create_descriptors(
      "pipe2", [](int* ends) { return detail::system_calls.pipe2(ends, O_CLOEXEC | O_NONBLOCK); });
}

ring::WaitingWord& Segments::waiting() const noexcept {
  return task_layout_.waiting(memory::address(task_region_));
}

std::span<ring::StopWord> Segments::stops() const noexcept {
  return task_layout_.stops(memory::address(task_region_));
}

ring::TaskPublisher Segments::publisher() const {
  return {task_layout_.descriptors(memory::address(task_region_)),
          claim_layout_.claims(memory::address(claim_region_))};
}

std::vector<ring::ResultReader> Segments::readers() {
  std::vector<ring::ResultReader> readers;
  readers.reserve(pool_.workers);
  for (std::uint32_t worker = 0; worker < pool_.workers; ++worker) {
    const std::size_t offset = lane_layout_.offset(worker);
    std::byte* lane = memory::address(lane_region_) + offset;
    readers.emplace_back(lane_layout_.header(lane), lane_layout_.ring(lane), [this, offset] {
      const std::size_t first = lane_layout_.first();
      const std::size_t rest = lane_layout_.stride() - first;
      return rest == 0 || try_reserve(lanes_, offset + first, rest);
    });
  }
  return readers;
}

std::byte* Segments::arena_base() const noexcept {
  return memory::address(task_region_) + task_layout_.arena_offset();
}

memory::Arena Segments::arena() {
  return {pool_.task_memory, first_arena, [this](std::size_t offset, std::size_t bytes) {
            // Without more room payloads wait on the heap.
            return try_reserve(tasks_, task_layout_.arena_offset() + offset, bytes);
          }};
}

ring::PoolDescriptors Segments::descriptors() const noexcept {
  ring::PoolDescriptors descriptors;
  descriptors.tasks = tasks_.fd();
  descriptors.claims = claims_.fd();
  descriptors.lanes = lanes_.fd();
  descriptors.doorbell = doorbell_write_.get();
  return descriptors;
}

}  // namespace libpool::engine
