/// ⑦ The worker loop: maps the pool's memory, runs the initializer, then claims and runs chunks
/// until it retires or is killed.
///
/// Runs in a worker, from the moment its process is mended. Before it: the first lines of a worker;
/// behind it: the task runner. A death while idle leaves nothing; one with a claim leaves a claim
/// word that names this worker.
#include <cxxabi.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <system_error>
#include <thread>

#include <libpool/codec/exception_codec.hpp>
#include <libpool/detail/descriptor_message.hpp>
#include <libpool/detail/forced_unwind.hpp>
#include <libpool/detail/system.hpp>
#include <libpool/memory/segment.hpp>
#include <libpool/ring/layout.hpp>
#include <libpool/this_worker.hpp>
#include <worker/inheritance.hpp>
#include <worker/task_runner.hpp>
#include <worker/worker_start.hpp>

namespace libpool::worker {

namespace {

using detail::system_calls;

/// Looks at the ring this often before it sleeps: about as long as a sleeper takes to run once
/// woken. First in haste, for as long as a parent takes that answers at once; then it lets others,
/// the parent perhaps, have the CPU in between.
constexpr int hasty_looks = 256;
constexpr int looks_before_sleep = 40;

/// The exit status of a worker whose initializer threw, or that could not map its memory. The
/// reason is in its lane.
constexpr int failed_start_status = 71;

class WorkerLoop {
 public:
  explicit WorkerLoop(const WorkerStart& start);

  /// Publishes why this worker cannot start.
  void publish_failed_start(std::exception_ptr error) noexcept;

  [[noreturn]] void run();

 private:
  /// What a worker does first when there is no chunk.
  enum class Haste : std::uint8_t {
    looks,   ///< looks without a pause: the parent answers at once
    yields,  ///< lets others have the CPU between looks: who has just been woken may share the
             ///< parent's, where the kernel likes to put him
    sleeps,
  };
  [[nodiscard]] Haste idle(Haste haste) noexcept;
  void run_chunk(ring::TaskClaimer::Claimed claimed);
  void run_from_own_memory(TaskRunner& runner, const ring::TaskDescriptor& task);
  [[nodiscard]] memory::Mapping receive_own_memory(const ring::TaskDescriptor& task);
  [[noreturn]] void retire(std::uint64_t ticket, std::uint32_t next_item) noexcept;

  const WorkerStart& start_;
  const ring::TaskLayout task_layout_;
  const ring::LaneLayout lane_layout_;
  const ring::ClaimLayout claim_layout_;
  memory::Mapping lane_region_;
  memory::Mapping task_region_;
  memory::Mapping claim_region_;
  ring::LaneHeader& lane_;
  ring::ResultWriter writer_;
  Workplace place_;
  ring::TaskClaimer claimer_;
};

WorkerLoop::WorkerLoop(const WorkerStart& start)
    : start_(start),
      task_layout_(start.pool),
      lane_layout_(start.pool),
      claim_layout_(start.pool),
      lane_region_(memory::map(start.descriptors.lanes, lane_layout_.offset(start.index),
                               lane_layout_.stride(), memory::Access::read_write)),
      task_region_(
          memory::map(start.descriptors.tasks, 0, task_layout_.total(), memory::Access::read_only)),
      claim_region_(memory::map(start.descriptors.claims, 0, claim_layout_.total(),
                                memory::Access::read_write)),
      lane_(lane_layout_.header(memory::address(lane_region_))),
      writer_(lane_, lane_layout_.ring(memory::address(lane_region_)),
              ring::Doorbell(task_layout_.waiting(memory::address(task_region_)),
                             start.descriptors.doorbell)),
      place_{lane_, writer_, task_layout_.stops(memory::address(task_region_))[start.index],
             *start.modules, start.pool.max_tasks},
      claimer_(task_layout_.descriptors(memory::address(task_region_)),
               claim_layout_.claims(memory::address(claim_region_)),
               claim_layout_.hint(memory::address(claim_region_)), start.index) {
  lane_.death.arm();
  // What a task forks must not write into the pool after this worker is dead.
  memory::keep_from_children(lane_region_);
  memory::keep_from_children(claim_region_);
  // The mappings stay; the descriptors would let a task map the lanes of others.
  for (const int fd :
       {start.descriptors.lanes, start.descriptors.tasks, start.descriptors.claims}) {
    detail::FileDescriptor(fd).reset();
  }
}

void WorkerLoop::publish_failed_start(std::exception_ptr error) noexcept {
  writer_.begin(ring::RecordKind::failed_start, 0, 0, 0);
  codec::encode_exception(writer_, error);
  writer_.publish();
}

void WorkerLoop::run() {
  place_.clock.start();
  // Many new workers would look for work in turns, mostly in a pool that has none yet.
  Haste haste = start_.has_cpu ? Haste::looks : Haste::sleeps;
  while (true) {
    if (const auto claimed = claimer_.claim()) {
      run_chunk(*claimed);
      if (haste == Haste::sleeps) haste = Haste::looks;
    } else {
      haste = idle(haste);
      place_.clock.start();
    }
  }
}

// Modelled in tests/model/pool.pml as park.
WorkerLoop::Haste WorkerLoop::idle(Haste haste) noexcept {
  lane_.park.look();
  for (int looks = 0; haste == Haste::looks && looks < hasty_looks; ++looks) {
    if (claimer_.next_is_ready()) return Haste::looks;
  }
  for (int looks = 0; haste != Haste::sleeps && looks < looks_before_sleep; ++looks) {
    if (claimer_.anything_ready()) return Haste::looks;
    std::this_thread::yield();
  }
  lane_.park.announce(ring::ParkWord::State::idle);
  // A look after the announcement: a chunk published before it brings no wake.
  if (claimer_.anything_ready()) {
    lane_.park.look();
    return Haste::looks;
  }
  die_with_server();  // a task may have changed credentials, which cancels the arrangement
  lane_.park.sleep(ring::ParkWord::State::idle);
  return Haste::yields;
}

void WorkerLoop::run_chunk(ring::TaskClaimer::Claimed claimed) {
  const ring::TaskDescriptor& task = claimer_.descriptor(claimed.slot);
  lane_.park.stay();
  lane_.progress.enter({claimed.ticket, task.begin_item, ring::Phase::claimed});
  obey_stop(place_.stop, lane_.park);
  TaskRunner runner(place_, task, claimed.slot);
  const auto size = static_cast<std::size_t>(task.items_offset + task.items_size);
  if (task.payload_offset != ring::own_memory_offset) {
    const std::byte* arena = memory::address(task_region_) + task_layout_.arena_offset();
    runner.run({arena + task.payload_offset, size});
  } else {
    run_from_own_memory(runner, task);
  }
  if (place_.tasks_left == 0) retire(claimed.ticket, runner.next_item());
}

void WorkerLoop::run_from_own_memory(TaskRunner& runner, const ring::TaskDescriptor& task) {
  memory::Mapping own;
  try {
    own = receive_own_memory(task);
  } catch (const std::system_error&) {
    // The payload is more than this worker may map.
    runner.fail_all(std::current_exception());
    return;
  }
  runner.run({memory::address(own), own.get_size()});
}

memory::Mapping WorkerLoop::receive_own_memory(const ring::TaskDescriptor& task) {
  // The parent sees the claim when it wakes; it then sends the payload's memory here.
  writer_.ring();
  while (true) {
    pollfd socket{start_.socket, POLLIN, 0};
    detail::retry_interrupted([&] { return system_calls.poll(&socket, 1, -1); });
    ring::OwnMemoryMessage message;
    int fd = -1;
    const auto received =
        detail::receive_message(start_.socket, &message, sizeof message, {&fd, 1});
    const bool nothing_yet = received.bytes < 0 && (errno == EAGAIN || errno == EINTR);
    // The parent is gone, or a task has closed the socket.
    if (received.bytes <= 0 && !nothing_yet) ::_exit(failed_start_status);
    const detail::FileDescriptor owner(fd);
    if (received.bytes != sizeof message || message.ticket != task.ticket) continue;
    // It came, but there was no room for it: nothing more will come.
    if (fd < 0) detail::throw_system_error("recvmsg", EMFILE);
    return memory::map(fd, 0, static_cast<std::size_t>(message.size), memory::Access::read_only);
  }
}

/// The agreed farewell. Anything else, `exit(0)` included, is a crash.
void WorkerLoop::retire(std::uint64_t ticket, std::uint32_t next_item) noexcept {
  lane_.progress.enter({ticket, next_item, ring::Phase::retired});
  leave_worker(0);
}

}  // namespace

LIBPOOL_CATCHES_FORCED_UNWIND void worker_main(const WorkerStart& start) {
  // Never destroyed: a worker leaves by `_exit`, wherever it is.
  std::optional<WorkerLoop> loop;
  detail::become_process_worker(start.index);
  try {
    loop.emplace(start);
    apply_memory_limit(start.pool.memory_limit);
    restore_slice();
    if (start.initializer != nullptr && *start.initializer) (*start.initializer)();
  } catch (abi::__forced_unwind&) {
    ::_exit(0);
  } catch (...) {
    if (loop) loop->publish_failed_start(std::current_exception());
    leave_worker(failed_start_status);
  }
  loop->run();
}

}  // namespace libpool::worker
