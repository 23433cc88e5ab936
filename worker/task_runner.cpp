/// ⑥ The task runner. Runs in a worker; see the header.
#include <worker/task_runner.hpp>

#include <stdio_ext.h>
#include <unistd.h>
#include <ext/stdio_sync_filebuf.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <stdexcept>
#include <utility>

#include <libpool/codec/exception_codec.hpp>
#include <libpool/detail/system.hpp>
#include <libpool/errors.hpp>
#include <libpool/this_worker.hpp>

namespace libpool::worker {

using ring::Phase;
using ring::Progress;

namespace {

/// Whether `std::cout` has a buffer of its own, and does not write through to stdio's.
bool cout_has_buffer() noexcept {
  static const std::streambuf* const through =
      dynamic_cast<__gnu_cxx::stdio_sync_filebuf<char>*>(std::cout.rdbuf());
  return std::cout.rdbuf() != through;
}

/// What a task has printed is out before its outcome is, so that output and results come in one
/// order.
void flush_output(bool last) noexcept {
  if (__fpending(stdout) != 0) std::fflush(stdout);
  if (!last || !cout_has_buffer()) return;
  try {
    std::cout.flush();
    std::clog.flush();
  } catch (...) {
    // The host has asked its streams to throw; a broken pipe of theirs is no outcome of a task.
  }
}

}  // namespace

void obey_stop(const ring::StopWord& stop, ring::ParkWord& park) noexcept {
  while (stop.requested()) {
    park.announce(ring::ParkWord::State::blocked);
    if (!stop.requested()) {
      park.stay();
      return;
    }
    park.sleep(ring::ParkWord::State::blocked);
  }
}

TaskRunner::TaskRunner(Workplace& place, const ring::TaskDescriptor& task, std::uint32_t slot)
    : ChunkContext(place.lane.progress, task.ticket, task.first_index, task.eager != 0,
                   task.bundled != 0),
      place_(place),
      task_(task),
      slot_(slot),
      next_(task.begin_item),
      end_(task.end_item) {
  if (!bundled()) return;
  // The first item stays this worker's, and with it, until that is published, the slot and the
  // payload, which would else be given to others while they are read here.
  place_.lane.remainder.open(task_.ticket, task_.begin_item + 1, task_.end_item);
  // A parent that sleeps is to know when it has to look for what was not begun in time.
  place_.writer.ring();
}

void TaskRunner::run(std::span<const std::byte> payload) {
  payload_ = payload;
  items_ =
      codec::PayloadReader(payload.subspan(task_.items_offset, task_.items_size), payload.data());
  for (std::uint32_t skipped = 0; skipped < task_.begin_item; ++skipped) (void)take_item();
  // Decoding the callable is the first item's work: if it kills this worker, or takes too long, it
  // must be somebody's, or the chunk would go on killing workers.
  name_item();
  codec::FunctionToken token;
  codec::PayloadReader(payload).read(&token, sizeof token);
  const auto* runner = place_.address_of(token);
  if (runner == nullptr) {
    fail_all(std::make_exception_ptr(PoolError("the function is in no module of this worker")));
    return;
  }
  reinterpret_cast<detail::ChunkRunner>(reinterpret_cast<std::uintptr_t>(runner))(*this);
}

codec::PayloadReader TaskRunner::call() {
  codec::PayloadReader call(payload_.first(task_.call_size), payload_.data());
  (void)call.take(sizeof(codec::FunctionToken));
  return call;
}

codec::PayloadReader TaskRunner::take_item() {
  std::uint64_t bytes = task_.item_stride;
  if (bytes == 0) items_.read(&bytes, sizeof bytes);
  const codec::PayloadReader item(items_.take(static_cast<std::size_t>(bytes)), payload_.data());
  if (task_.item_stride == 0) items_.align(8);
  return item;
}

bool TaskRunner::next() {
  if (ended()) return false;
  item_bytes_ = take_item();
  begin_item();
  return true;
}

void TaskRunner::begin_item() {
  if (next_ != task_.begin_item || !named_first_) name_item();
  --place_.tasks_left;
  ++next_;
  task_index_.set(first_index_ + item_);
}

/// Enters the decoding of the next item.
// Modelled in tests/model/pool.pml as begin.
void TaskRunner::name_item() {
  item_ = next_;
  named_first_ = true;
  if (task_.timed == 0) {
    enter(Phase::decode);
    return;
  }
  place_.clock.item_starts();
  place_.lane.progress.enter_stoppable({task_.ticket, item_, Phase::decode});
  // Not yet begun in earnest: a kill that comes here is not for this item, and the parent knows it.
  obey_stop(place_.stop, place_.lane.park);
}

void TaskRunner::enter(Phase phase) noexcept {
  place_.lane.progress.enter({task_.ticket, item_, phase});
}

// Modelled in tests/model/pool.pml as call.
void TaskRunner::begin_run() { enter(Phase::run); }

codec::PayloadWriter& TaskRunner::result() {
  enter(Phase::encode);
  place_.writer.begin(ring::RecordKind::value, task_.ticket, slot_, item_);
  return place_.writer;
}

// Modelled in tests/model/pool.pml as the end of begin.
void TaskRunner::publish() {
  const bool last = ended();
  flush_output(last);
  if (last) place_.clock.account();
  place_.writer.publish();
  // After the publication: in the other order, a death in between would leave an item that ran and
  // has no outcome, and that nobody is blamed for, so that it would run twice.
  enter(Phase::published);
}

bool TaskRunner::take() noexcept {
  if (!std::exchange(taken_first_, true)) return true;
  // The outcome of the item before this one will be published by the progress word.
  flush_output(true);
  taken_back_ = !place_.lane.remainder.take();
  return !taken_back_;
}

detail::ChunkContext::Run TaskRunner::next_run(std::uint32_t done, std::size_t result_size) {
  if (run_result_size_) {
    close_run(done);
    // After the publication, as in `publish`. A run of none is that of a bundle whose rest was
    // taken back after an item that failed.
    item_ = next_ - 1;
    enter(Phase::published);
  }
  if (ended()) return {};
  const auto room = place_.writer.open_run(task_.ticket, slot_, next_, result_size);
  run_result_size_ = result_size;
  const std::uint64_t items = std::min<std::uint64_t>(end_ - next_, place_.tasks_left);
  return {room.data(), next_,
          static_cast<std::uint32_t>(std::min<std::uint64_t>(items, room.size() / result_size))};
}

/// Publishes the run's first `done` items.
void TaskRunner::close_run(std::uint32_t done) noexcept {
  next_ += done;
  place_.tasks_left -= done;
  if (taken_back_) end_ = next_;
  const bool last = ended();
  flush_output(last);
  if (last) place_.clock.account();
  place_.writer.close_run(done, *run_result_size_);
  run_result_size_.reset();
}

void TaskRunner::fail_in_run(std::uint32_t done, std::exception_ptr error) noexcept {
  // The progress word names the failed item all the while: it must not be taken for one not begun.
  close_run(done);
  item_ = next_++;
  --place_.tasks_left;
  fail(std::move(error));
}

void TaskRunner::begin_eagerly(std::uint32_t item) {
  progress_.enter({ticket_, item, Phase::run});
  if (item != next_) place_.writer.ring();  // the results before this item can be read now
}

void TaskRunner::fail(std::exception_ptr error) noexcept {
  enter(Phase::encode);
  place_.writer.begin(ring::RecordKind::error, task_.ticket, slot_, item_);
  codec::encode_exception(place_.writer, error);
  publish();
}

void TaskRunner::fail_all(std::exception_ptr error) noexcept {
  while (!ended() && (!bundled() || take())) {
    begin_item();
    fail(error);
  }
}

void TaskRunner::leave_thread() noexcept { ::_exit(0); }

}  // namespace libpool::worker
