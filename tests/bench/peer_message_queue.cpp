/// Boost.Interprocess `message_queue`: one queue of tasks and one of results, and nothing else.
#include <unistd.h>

#include <boost/interprocess/ipc/message_queue.hpp>
#include <cstring>

#include "process_peer.hpp"

namespace {

namespace ipc = boost::interprocess;

/// A queue without a name: it is unlinked at once, and forked workers inherit the mapping.
class Queue {
 public:
  Queue(const std::string& name, std::size_t messages, std::size_t bytes)
      : queue_(ipc::create_only, name.c_str(), messages, bytes) {
    ipc::message_queue::remove(name.c_str());
  }

  ipc::message_queue* operator->() { return &queue_; }

 private:
  ipc::message_queue queue_;
};

class MessageQueues {
 public:
  static constexpr std::size_t task_bytes = sizeof(bench::Message);
  static constexpr std::size_t block_bytes = std::size_t{256} << 10;

  MessageQueues(std::size_t workers, std::size_t bytes)
      : bytes_(bytes),
        capacity_(bytes == task_bytes ? 1024 : 2 * workers),
        buffer_(bytes),
        tasks_("libpool_bench_tasks_" + std::to_string(::getpid()), capacity_, bytes),
        results_("libpool_bench_results_" + std::to_string(::getpid()), capacity_, bytes) {
    workers_.start(workers, [this](std::size_t) { work(); });
  }

  void tasks(const bench::Numbers& input, bench::Numbers& output) {
    exchange(
        input.size(),
        [&](std::size_t i) {
          const bench::Message task{i, input[i]};
          tasks_->send(&task, sizeof task, 0);
          return i + 1;
        },
        [&] {
          const bench::Message result = receive();
          output[result.index] = result.value;
          return std::size_t{1};
        });
  }

  void blocks(const bench::Numbers& input, bench::Numbers& output) {
    const std::size_t numbers = bytes_ / sizeof(std::int64_t) - 1;
    exchange(
        input.size(),
        [&](std::size_t begin) {
          const bench::Part part = bench::part(begin, numbers, input.size());
          std::memcpy(buffer_.data(), &begin, sizeof begin);
          std::memcpy(buffer_.data() + sizeof begin, &input[begin], 8 * part.size);
          tasks_->send(buffer_.data(), 8 * (part.size + 1), 0);
          return begin + part.size;
        },
        [&] {
          const std::size_t size = receive_bytes(results_) - sizeof(std::size_t);
          std::size_t begin = 0;
          std::memcpy(&begin, buffer_.data(), sizeof begin);
          std::memcpy(&output[begin], buffer_.data() + sizeof begin, size);
          return size / sizeof(std::int64_t);
        });
  }

  std::int64_t one(std::int64_t x) {
    const bench::Message task{0, x};
    tasks_->send(&task, sizeof task, 0);
    return receive().value;
  }

 private:
  /// Keeps as many messages under way as one queue holds, so that no send can wait for ever.
  template <class Send, class Receive>
  void exchange(std::size_t size, Send send, Receive receive) {
    std::size_t sent = 0;
    std::size_t under_way = 0;
    for (std::size_t received = 0; received < size;) {
      for (; sent < size && under_way < capacity_; ++under_way) sent = send(sent);
      received += receive();
      --under_way;
    }
  }

  std::size_t receive_bytes(Queue& queue) {
    ipc::message_queue::size_type size = 0;
    unsigned priority = 0;
    queue->receive(buffer_.data(), buffer_.size(), size, priority);
    return size;
  }

  bench::Message receive() {
    receive_bytes(results_);
    bench::Message message{};
    std::memcpy(&message, buffer_.data(), sizeof message);
    return message;
  }

  /// In a worker. The first word of each message is an index, the others are numbers.
  [[noreturn]] void work() {
    for (;;) {
      const std::size_t size = receive_bytes(tasks_);
      for (std::size_t at = 8; at < size; at += 8) {
        std::int64_t number = 0;
        std::memcpy(&number, buffer_.data() + at, sizeof number);
        number = bench::increment(number);
        std::memcpy(buffer_.data() + at, &number, sizeof number);
      }
      results_->send(buffer_.data(), size, 0);
    }
  }

  std::size_t bytes_;
  std::size_t capacity_;
  std::vector<char> buffer_;
  Queue tasks_;
  Queue results_;
  bench::Children workers_;
};

}  // namespace

int main(int count, char** values) {
  return bench::guarded([&] {
    return bench::run(bench::Arguments(count, values), bench::process_workloads<MessageQueues>());
  });
}
