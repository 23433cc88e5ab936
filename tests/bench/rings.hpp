/// The limit for processes: shared memory and spinning, without any protocol for deaths or order.
///
/// Three kinds: one ring to and one from each worker, with one writer and one reader each
/// (`Rings`); the same between one worker and a parent that sleep when they are idle
/// (`ParkingRings`); and one ring of tasks and one of results that all share (`SharedRings`, after
/// Dmitry Vyukov's bounded queue). Blocks of numbers stay where the parent copied them, and are
/// worked on in place.
#pragma once

#include <immintrin.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <optional>

#include "process_peer.hpp"

namespace bench {

/// Spins for some microseconds, then lets others run between its looks.
class Spinner {
 public:
  void wait() {
    if (++looks_ < 1000) {
      _mm_pause();
    } else {
      ::sched_yield();
    }
  }

 private:
  int looks_ = 0;
};

/// One writer, one reader. Both move many messages with one store of their position.
class alignas(64) Ring {
 public:
  static constexpr std::uint64_t capacity = 1024;

  /// For the writer: how many messages fit now.
  [[nodiscard]] std::uint64_t space() {
    if (written_ - seen_read_ == capacity) seen_read_ = read_.load(std::memory_order_acquire);
    return capacity - (written_ - seen_read_);
  }
  /// The `i`-th message after the last published one.
  [[nodiscard]] Message& free_slot(std::uint64_t i) { return slots_[(written_ + i) % capacity]; }
  void publish(std::uint64_t count) {
    written_ += count;
    published_.store(written_, std::memory_order_release);
  }

  /// For the reader: how many messages are there now.
  [[nodiscard]] std::uint64_t available() {
    if (taken_ == seen_published_) seen_published_ = published_.load(std::memory_order_acquire);
    return seen_published_ - taken_;
  }
  [[nodiscard]] const Message& full_slot(std::uint64_t i) const {
    return slots_[(taken_ + i) % capacity];
  }
  void release(std::uint64_t count) {
    taken_ += count;
    read_.store(taken_, std::memory_order_release);
  }

 private:
  alignas(64) std::atomic<std::uint64_t> published_;
  alignas(64) std::atomic<std::uint64_t> read_;
  alignas(64) std::uint64_t written_;  // the writer's own
  std::uint64_t seen_read_;
  alignas(64) std::uint64_t taken_;  // the reader's own
  std::uint64_t seen_published_;
  alignas(64) Message slots_[capacity];
};

/// What the parent and one worker share.
struct Lane {
  Ring tasks;
  Ring results;
};

class Rings {
 public:
  static constexpr std::size_t task_bytes = sizeof(Message);
  static constexpr std::size_t block_bytes = std::size_t{256} << 10;
  static constexpr std::size_t large = std::size_t{1} << 21;

  Rings(std::size_t workers, std::size_t bytes)
      : workers_(workers),
        bytes_(bytes),
        blocks_a_worker_(bytes == task_bytes ? 0
                         : bytes < large     ? 4
                                             : 2),
        lanes_memory_(workers * sizeof(Lane)),
        lanes_(lanes_memory_.as<Lane>()),
        blocks_memory_(std::max<std::size_t>(1, workers * blocks_a_worker_ * bytes)) {
    children_.start(workers, [this](std::size_t i) { work(lanes_[i]); });
  }

  void tasks(const Numbers& input, Numbers& output) {
    constexpr std::uint64_t most = 64;
    std::size_t sent = 0;
    Spinner idle;
    for (std::size_t received = 0; received < input.size();) {
      bool moved = false;
      for (std::size_t i = 0; i < workers_; ++i) {
        Lane& lane = lanes_[i];
        const std::uint64_t fit = std::min({lane.tasks.space(), most, input.size() - sent});
        for (std::uint64_t k = 0; k < fit; ++k, ++sent) {
          lane.tasks.free_slot(k) = {sent, input[sent]};
        }
        if (fit > 0) lane.tasks.publish(fit);
        const std::uint64_t there = lane.results.available();
        for (std::uint64_t k = 0; k < there; ++k) {
          const Message& result = lane.results.full_slot(k);
          output[result.index] = result.value;
        }
        if (there > 0) lane.results.release(there);
        received += there;
        moved = moved || fit > 0 || there > 0;
      }
      if (moved) {
        idle = Spinner();
      } else {
        idle.wait();
      }
    }
  }

  void blocks(const Numbers& input, Numbers& output) {
    exchange(input, Work::increment, [&](const Part& done, const std::int64_t* block) {
      std::memcpy(&output[done.begin], block, 8 * done.size);
    });
  }

  /// What a worker does to each block: increments it in place, or makes its first number their sum.
  enum class Work : std::uint64_t { increment, sum };

  /// Has all blocks of the input worked on; `take(part, block)` sees each result where it lies.
  template <class Take>
  void exchange(const Numbers& input, Work what, Take take) {
    std::vector<Part> parts(workers_ * blocks_a_worker_);
    std::vector<std::size_t> free(parts.size());
    std::iota(free.begin(), free.end(), std::size_t{0});
    std::size_t sent = 0;
    Spinner idle;
    for (std::size_t received = 0; received < input.size();) {
      while (sent < input.size() && !free.empty()) {
        const std::size_t block = free.back();
        free.pop_back();
        parts[block] = part(sent, bytes_ / 8, input.size());
        std::memcpy(block_at(block), &input[sent], 8 * parts[block].size);
        const auto request = static_cast<std::uint64_t>(what) << 63U | block;
        send(block % workers_, {request, static_cast<std::int64_t>(parts[block].size)});
        sent += parts[block].size;
      }
      const std::optional<Message> result = try_receive();
      if (!result) {
        idle.wait();
        continue;
      }
      idle = Spinner();
      const std::size_t block = result->index & ~(std::uint64_t{1} << 63U);
      take(parts[block], block_at(block));
      free.push_back(block);
      received += parts[block].size;
    }
  }

  std::int64_t one(std::int64_t x) {
    send(0, {0, x});
    Spinner idle;
    for (;; idle.wait()) {
      if (const auto result = try_receive()) return result->value;
    }
  }

 private:
  void send(std::size_t worker, Message message) {
    Ring& ring = lanes_[worker].tasks;
    for (Spinner full; ring.space() == 0;) full.wait();
    ring.free_slot(0) = message;
    ring.publish(1);
  }

  std::optional<Message> try_receive() {
    for (std::size_t i = 0; i < workers_; ++i) {
      Ring& ring = lanes_[i].results;
      if (ring.available() == 0) continue;
      const Message result = ring.full_slot(0);
      ring.release(1);
      return result;
    }
    return std::nullopt;
  }

  [[nodiscard]] std::int64_t* block_at(std::size_t block) const {
    return blocks_memory_.as<std::int64_t>() + block * (bytes_ / 8);
  }

  /// In a worker. Without blocks a message's value is the number, else the size of the block.
  [[noreturn]] void work(Lane& lane) const {
    for (Spinner idle;;) {
      const std::uint64_t there = std::min(lane.tasks.available(), lane.results.space());
      if (there == 0) {
        idle.wait();
        continue;
      }
      idle = Spinner();
      for (std::uint64_t k = 0; k < there; ++k) {
        Message message = lane.tasks.full_slot(k);
        if (blocks_a_worker_ == 0) {
          message.value = increment(message.value);
        } else {
          work_on_block(message);
        }
        lane.results.free_slot(k) = message;
      }
      lane.tasks.release(there);
      lane.results.publish(there);
    }
  }

  void work_on_block(const Message& message) const {
    constexpr std::uint64_t sum = std::uint64_t{1} << 63U;
    std::int64_t* block = block_at(message.index & ~sum);
    if ((message.index & sum) != 0) {
      block[0] = std::accumulate(block, block + message.value, std::int64_t{0});
    } else {
      for (std::int64_t i = 0; i < message.value; ++i) block[i] = increment(block[i]);
    }
  }

  std::size_t workers_;
  std::size_t bytes_;
  std::size_t blocks_a_worker_;
  SharedMemory lanes_memory_;
  Lane* lanes_;
  SharedMemory blocks_memory_;
  Children children_;
};

/// One writer and one reader again, both of which sleep when nothing has come for a while: what a
/// hand-over costs to a worker that takes no CPU while it is idle.
class ParkingRings {
 public:
  static constexpr std::size_t task_bytes = sizeof(Message);

  ParkingRings(std::size_t /*workers*/, std::size_t /*bytes*/)
      : memory_(sizeof(Shared)), shared_(memory_.as<Shared>()) {
    children_.start(1, [this](std::size_t) {
      for (;;) send(shared_->to_parent, {0, increment(receive(shared_->to_worker).value)});
    });
  }

  std::int64_t one(std::int64_t x) {
    send(shared_->to_worker, {0, x});
    return receive(shared_->to_parent).value;
  }

 private:
  struct Way {
    Ring ring;
    alignas(64) std::atomic<std::uint32_t> asleep;  ///< 1: its reader is, or about to be
  };
  struct Shared {
    Way to_worker;
    Way to_parent;
  };

  static long futex(Way& way, int operation, std::uint32_t value) {
    return ::syscall(SYS_futex, &way.asleep, operation, value, nullptr, nullptr, 0);
  }

  static void send(Way& way, Message message) {
    way.ring.free_slot(0) = message;
    way.ring.publish(1);
    // The exchange orders the publication before the look.
    if (way.asleep.exchange(0) == 1) futex(way, FUTEX_WAKE, 1);
  }

  static Message receive(Way& way) {
    // A few microseconds, then some yields: whoever was woken may need this CPU.
    constexpr int looks = 100;
    constexpr int yields = 10;
    for (int i = 0; way.ring.available() == 0; ++i) {
      if (i < looks + yields) {
        i < looks ? _mm_pause() : static_cast<void>(::sched_yield());
        continue;
      }
      way.asleep.store(1);
      if (way.ring.available() == 0) futex(way, FUTEX_WAIT, 1);
      way.asleep.store(0);
      i = 0;
    }
    const Message message = way.ring.full_slot(0);
    way.ring.release(1);
    return message;
  }

  SharedMemory memory_;
  Shared* shared_;
  Children children_;
};

/// Many writers, many readers. A slot's turn tells whose it is: even, the writer's of that round;
/// odd, the reader's.
class alignas(64) SharedRing {
 public:
  bool try_push(const Message& message) {
    std::uint64_t at = tail_.load(std::memory_order_relaxed);
    for (;;) {
      Slot& slot = slots_[at % capacity];
      const std::uint64_t turn = slot.turn.load(std::memory_order_acquire);
      if (turn == 2 * (at / capacity)) {
        if (tail_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) {
          slot.message = message;
          slot.turn.store(turn + 1, std::memory_order_release);
          return true;
        }
      } else if (turn < 2 * (at / capacity)) {
        return false;
      } else {
        at = tail_.load(std::memory_order_relaxed);
      }
    }
  }

  std::optional<Message> try_pop() {
    std::uint64_t at = head_.load(std::memory_order_relaxed);
    for (;;) {
      Slot& slot = slots_[at % capacity];
      const std::uint64_t turn = slot.turn.load(std::memory_order_acquire);
      if (turn == 2 * (at / capacity) + 1) {
        if (head_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) {
          const Message message = slot.message;
          slot.turn.store(turn + 1, std::memory_order_release);
          return message;
        }
      } else if (turn < 2 * (at / capacity) + 1) {
        return std::nullopt;
      } else {
        at = head_.load(std::memory_order_relaxed);
      }
    }
  }

 private:
  static constexpr std::uint64_t capacity = 1024;
  struct Slot {
    std::atomic<std::uint64_t> turn;
    Message message;
  };

  alignas(64) std::atomic<std::uint64_t> tail_;
  alignas(64) std::atomic<std::uint64_t> head_;
  alignas(64) Slot slots_[capacity];
};

class SharedRings {
 public:
  static constexpr std::size_t task_bytes = sizeof(Message);

  SharedRings(std::size_t workers, std::size_t /*bytes*/)
      : memory_(2 * sizeof(SharedRing)),
        tasks_(memory_.as<SharedRing>()),
        results_(memory_.as<SharedRing>() + 1) {
    children_.start(workers, [this](std::size_t) { work(); });
  }

  void tasks(const Numbers& input, Numbers& output) {
    constexpr std::size_t most = 1024;
    std::size_t sent = 0;
    Spinner idle;
    for (std::size_t received = 0; received < input.size();) {
      while (sent < input.size() && sent - received < most &&
             tasks_->try_push({sent, input[sent]})) {
        ++sent;
      }
      std::optional<Message> result = results_->try_pop();
      if (!result) {
        idle.wait();
        continue;
      }
      idle = Spinner();
      for (; result; result = results_->try_pop(), ++received)
        output[result->index] = result->value;
    }
  }

  std::int64_t one(std::int64_t x) {
    tasks_->try_push({0, x});
    for (Spinner idle;; idle.wait()) {
      if (const auto result = results_->try_pop()) return result->value;
    }
  }

 private:
  [[noreturn]] void work() const {
    for (Spinner idle;;) {
      std::optional<Message> task = tasks_->try_pop();
      if (!task) {
        idle.wait();
        continue;
      }
      idle = Spinner();
      task->value = increment(task->value);
      for (Spinner full; !results_->try_push(*task);) full.wait();
    }
  }

  SharedMemory memory_;
  SharedRing* tasks_;
  SharedRing* results_;
  Children children_;
};

}  // namespace bench
