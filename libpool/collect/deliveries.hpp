/// Outcomes on their way from the result rings to their batches, in the parent's private memory.
///
/// Runs in the parent: filled under the core's mutex with bytes that have been validated, then
/// delivered without it, because decoding runs the user's code. A worker's death changes nothing
/// here any more.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <vector>

#include <libpool/collect/result_memory.hpp>
#include <libpool/submit/job.hpp>

namespace libpool::collect {

/// What became of items, counted.
struct Tally {
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;
  std::uint64_t crashed = 0;
  std::uint64_t timed_out = 0;
};

/// Not thread-safe: owned by the thread that drives the pool.
class Deliveries {
 public:
  enum class Kind : std::uint8_t {
    value,      ///< bytes of an encoded result
    run,        ///< bytes of several results of one size
    error,      ///< bytes of an encoded exception
    failed,     ///< an exception made in the parent
    crashed,    ///< the same, for a worker's death
    timed_out,  ///< the same, for a deadline
  };

  /// A job's part of what is delivered.
  struct Share {
    std::shared_ptr<submit::Job> job;
    std::size_t items;
    std::size_t in_runs;  ///< of those, the ones that are settled together
  };

  explicit Deliveries(std::shared_ptr<ResultMemory> memory) noexcept : memory_(std::move(memory)) {}

  // Each `add` throws `std::bad_alloc`, having added nothing.

  /// Copies the bytes, which another process can still change, before anybody looks at them.
  void add(const std::shared_ptr<submit::Job>& job, std::size_t index, Kind kind,
           std::span<const std::byte> bytes, pid_t pid);
  /// The same for bytes that are private already.
  void add(const std::shared_ptr<submit::Job>& job, std::size_t index, Kind kind,
           std::vector<std::byte>&& bytes, pid_t pid);
  /// The same for a result that has come as a whole.
  void add(const std::shared_ptr<submit::Job>& job, std::size_t index,
           std::unique_ptr<detail::Reception>&& reception, pid_t pid);
  void add(const std::shared_ptr<submit::Job>& job, std::size_t index, Kind kind,
           std::exception_ptr error);
  /// `items` results of a run: placed at once where the job can take them as they are, else copied.
  void add_run(const std::shared_ptr<submit::Job>& job, std::size_t index, std::size_t items,
               std::span<const std::byte> bytes, pid_t pid);

  /// Where the fragments of results lie until they are added.
  [[nodiscard]] ResultMemory& memory() const noexcept { return *memory_; }

  [[nodiscard]] bool empty() const noexcept { return jobs_.empty(); }

  /// Under the core's mutex, before `deliver`: counts what is about to become known, because who
  /// waits for an outcome may ask for the counts next.
  void count(Tally& tally) const noexcept;

  /// Decodes and hands over everything. Call without locks.
  void deliver() noexcept;

  /// After `deliver`, under the core's mutex: settles the jobs' accounts, corrects the counts by
  /// the results that could not be decoded, and forgets everything. Returns the jobs concerned,
  /// whose last reference the caller must not drop under the mutex.
  [[nodiscard]] std::vector<Share> account(Tally& tally) noexcept;

 private:
  /// Where the bytes of an item are.
  enum class Where : std::uint8_t { bytes, buffer, reception };
  struct Item {
    std::size_t index;
    std::size_t place;  ///< of the bytes, the buffer, the reception or the exception
    std::size_t size;
    std::uint32_t job;  ///< in jobs_
    pid_t pid;
    Kind kind;
    Where where = Where::bytes;
  };

  [[nodiscard]] Share& share_of(const std::shared_ptr<submit::Job>& job);
  void push(const std::shared_ptr<submit::Job>& job, Item item, std::size_t items = 1);
  [[nodiscard]] std::size_t keep(std::span<const std::byte> bytes);
  void deliver(const Item& item) noexcept;
  void decode(const Item& item, codec::PayloadReader bytes) noexcept;
  [[nodiscard]] std::uint64_t& count_of(Kind kind) noexcept;

  const std::shared_ptr<ResultMemory> memory_;
  std::vector<Item> items_;
  std::vector<Share> jobs_;
  std::vector<std::byte> bytes_;
  std::vector<std::vector<std::byte>> buffers_;
  std::vector<std::unique_ptr<detail::Reception>> receptions_;
  std::vector<std::exception_ptr> exceptions_;
  Tally tally_;                ///< by kind
  std::size_t undecoded_ = 0;  ///< results that could not be decoded
};

}  // namespace libpool::collect
