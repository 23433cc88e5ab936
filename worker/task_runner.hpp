/// ⑥ The task runner: takes one claimed chunk through its items, naming each phase in the progress
/// word.
///
/// Runs in a worker, between the worker loop and the typed runner that a function token names. A
/// death here leaves the progress word naming the item that was begun and not published, and the
/// outcomes of those before it in the result ring.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include <libpool/detail/chunk_context.hpp>
#include <libpool/ring/result_ring.hpp>
#include <libpool/ring/stop_word.hpp>
#include <libpool/ring/task_ring.hpp>

namespace libpool::worker {

/// A worker's own things, for as long as it lives.
struct Workplace {
  ring::LaneHeader& lane;
  ring::ResultWriter& writer;
  const ring::StopWord& stop;
  const codec::ModuleMap& modules;
  std::uint64_t tasks_left;  ///< items until this worker retires
  ring::LaneClock clock{lane};

  /// The function that a token names, or null. Remembers the last one: most chunks have the same.
  [[nodiscard]] const void* address_of(const codec::FunctionToken& token) noexcept {
    if (token != last_token) {
      last_token = token;
      last_address = modules.address_of(token);
    }
    return last_address;
  }
  codec::FunctionToken last_token{};
  const void* last_address = nullptr;
};

/// Waits for as long as the parent wants this worker to begin nothing. If it is to be killed, the
/// kill comes here.
void obey_stop(const ring::StopWord& stop, ring::ParkWord& park) noexcept;

class TaskRunner final : public detail::ChunkContext {
 public:
  /// The descriptor stays as it is until the last item is settled.
  TaskRunner(Workplace& place, const ring::TaskDescriptor& task, std::uint32_t slot);

  /// Runs the chunk's items, or as many as the worker may before it retires. The payload stays as
  /// it is until the last item is settled.
  void run(std::span<const std::byte> payload);

  /// The first item that was not begun.
  [[nodiscard]] std::uint32_t next_item() const noexcept { return next_; }

  const codec::ModuleMap& modules() const noexcept override { return place_.modules; }
  codec::PayloadReader call() override;
  bool next() override;
  codec::PayloadReader item() override { return item_bytes_; }
  bool in_runs() const noexcept override { return task_.timed == 0; }
  bool take() noexcept override;
  Run next_run(std::uint32_t done, std::size_t result_size) override;
  codec::PayloadReader items() override { return items_; }
  void fail_in_run(std::uint32_t done, std::exception_ptr error) noexcept override;
  void begin_run() override;
  codec::PayloadWriter& result() override;
  void publish() override;
  void fail(std::exception_ptr error) noexcept override;
  void fail_all(std::exception_ptr error) noexcept override;
  [[noreturn]] void leave_thread() noexcept override;

 private:
  void begin_eagerly(std::uint32_t item) override;
  void close_run(std::uint32_t done) noexcept;
  void enter(ring::Phase phase) noexcept;
  [[nodiscard]] bool ended() const noexcept { return next_ == end_ || place_.tasks_left == 0; }
  void begin_item();
  void name_item();
  [[nodiscard]] codec::PayloadReader take_item();

  Workplace& place_;
  const ring::TaskDescriptor task_;
  const std::uint32_t slot_;
  std::span<const std::byte> payload_;
  codec::PayloadReader items_;  ///< from the next item on
  codec::PayloadReader item_bytes_;
  std::uint32_t next_ = 0;
  std::uint32_t end_ = 0;  ///< of the chunk; of a bundle, lower when it has been taken back
  std::uint32_t item_ = 0;
  std::optional<std::size_t> run_result_size_;  ///< while a run is open
  bool taken_first_ = false;  ///< of a bundle: the item that is the worker's from the beginning
  bool taken_back_ = false;   ///< no item of the bundle is left
  bool named_first_ = false;  ///< the progress word names the chunk's first item already
};

}  // namespace libpool::worker
