/// Pipes: a pair for each worker, without any protocol for deaths.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstring>

#include "process_peer.hpp"

namespace {

constexpr std::size_t pipe_bytes = std::size_t{1} << 20;

class Pipe {
 public:
  Pipe() {
    if (::pipe2(ends_, O_CLOEXEC) != 0) fail("pipe2");
    ::fcntl(ends_[1], F_SETPIPE_SZ, pipe_bytes);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }

  [[nodiscard]] int reading_end() const { return ends_[0]; }

  void write(const void* data, std::size_t size) const {
    for (const char* next = static_cast<const char*>(data); size > 0;) {
      const ssize_t written = ::write(ends_[1], next, size);
      if (written <= 0) fail("write");
      next += written;
      size -= static_cast<std::size_t>(written);
    }
  }

  /// As much as is there, at least one byte.
  std::size_t read_some(void* data, std::size_t size) const {
    const ssize_t got = ::read(ends_[0], data, size);
    if (got <= 0) fail("read");
    return static_cast<std::size_t>(got);
  }

  void read(void* data, std::size_t size) const {
    for (char* next = static_cast<char*>(data); size > 0;) {
      const std::size_t got = read_some(next, size);
      next += got;
      size -= got;
    }
  }

 private:
  [[noreturn]] static void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
  }

  int ends_[2] = {-1, -1};
};

struct Worker {
  Pipe tasks;
  Pipe results;
  std::size_t under_way = 0;
};

class Pipes {
 public:
  static constexpr std::size_t task_bytes = sizeof(bench::Message);
  static constexpr std::size_t block_bytes = std::size_t{256} << 10;

  Pipes(std::size_t workers, std::size_t bytes) : bytes_(bytes), workers_(workers) {
    children_.start(workers, [this](std::size_t i) { work(workers_[i]); });
  }

  /// One write a task; who reads takes what is there, as much as fits.
  void tasks(const bench::Numbers& input, bench::Numbers& output) {
    std::vector<bench::Message> results(1024);
    exchange(
        input.size(),
        [&](const Worker& worker, std::size_t i) {
          const bench::Message task{i, input[i]};
          worker.tasks.write(&task, sizeof task);
          return i + 1;
        },
        [&](Worker& worker) {
          std::size_t bytes = worker.results.read_some(results.data(), 1024 * task_bytes);
          // Workers write whole messages, but a pipe may give a part of one.
          const std::size_t rest = (task_bytes - bytes % task_bytes) % task_bytes;
          worker.results.read(reinterpret_cast<char*>(results.data()) + bytes, rest);
          bytes += rest;
          for (std::size_t i = 0; i < bytes / task_bytes; ++i) {
            output[results[i].index] = results[i].value;
          }
          worker.under_way -= bytes / task_bytes;
          return bytes / task_bytes;
        });
  }

  void blocks(const bench::Numbers& input, bench::Numbers& output) {
    exchange(
        input.size(),
        [&](const Worker& worker, std::size_t begin) {
          const bench::Part part = bench::part(begin, bytes_ / 8, input.size());
          worker.tasks.write(&part, sizeof part);
          worker.tasks.write(&input[begin], 8 * part.size);
          return begin + part.size;
        },
        [&](Worker& worker) {
          bench::Part part{};
          worker.results.read(&part, sizeof part);
          worker.results.read(&output[part.begin], 8 * part.size);
          --worker.under_way;
          return part.size;
        });
  }

  std::int64_t one(std::int64_t x) {
    bench::Message message{0, x};
    workers_[0].tasks.write(&message, sizeof message);
    workers_[0].results.read(&message, sizeof message);
    return message.value;
  }

 private:
  /// Keeps less under way than a pipe holds, or one block, which a worker reads to its end before
  /// it writes: so nobody can wait for ever in a write.
  template <class Send, class Receive>
  void exchange(std::size_t size, Send send, Receive receive) {
    const std::size_t blocks = std::max<std::size_t>(2, pipe_bytes / bytes_) - 1;
    const std::size_t window = bytes_ == task_bytes ? 2048 : blocks;
    std::vector<pollfd> ends;
    for (const Worker& worker : workers_) ends.push_back({worker.results.reading_end(), POLLIN, 0});
    std::size_t sent = 0;
    for (std::size_t received = 0; received < size;) {
      for (Worker& worker : workers_) {
        for (; sent < size && worker.under_way < window; ++worker.under_way) {
          sent = send(worker, sent);
        }
      }
      ::poll(ends.data(), ends.size(), -1);
      for (std::size_t i = 0; i < ends.size(); ++i) {
        if ((ends[i].revents & POLLIN) != 0) received += receive(workers_[i]);
      }
    }
  }

  /// In a worker.
  void work(const Worker& worker) const {
    if (bytes_ == task_bytes) work_on_tasks(worker);
    work_on_blocks(worker);
  }

  [[noreturn]] static void work_on_tasks(const Worker& worker) {
    std::vector<bench::Message> messages(1024);
    for (;;) {
      std::size_t bytes = worker.tasks.read_some(messages.data(), 1024 * task_bytes);
      const std::size_t rest = (task_bytes - bytes % task_bytes) % task_bytes;
      worker.tasks.read(reinterpret_cast<char*>(messages.data()) + bytes, rest);
      bytes += rest;
      for (std::size_t i = 0; i < bytes / task_bytes; ++i) {
        messages[i].value = bench::increment(messages[i].value);
      }
      worker.results.write(messages.data(), bytes);
    }
  }

  [[noreturn]] void work_on_blocks(const Worker& worker) const {
    bench::Numbers numbers(bytes_ / 8);
    for (;;) {
      bench::Part part{};
      worker.tasks.read(&part, sizeof part);
      worker.tasks.read(numbers.data(), 8 * part.size);
      for (std::size_t i = 0; i < part.size; ++i) numbers[i] = bench::increment(numbers[i]);
      worker.results.write(&part, sizeof part);
      worker.results.write(numbers.data(), 8 * part.size);
    }
  }

  std::size_t bytes_;
  std::vector<Worker> workers_;
  bench::Children children_;
};

}  // namespace

int main(int count, char** values) {
  return bench::guarded([&] {
    return bench::run(bench::Arguments(count, values), bench::process_workloads<Pipes>());
  });
}
