/// ⑨ The collector: drains result rings, checks every record and turns it into an outcome.
///
/// Runs in the parent under the core's mutex. Before it: the workers' result rings; behind it:
/// `Deliveries`. After a death notice it drains the dead worker's ring a last time: what was
/// published counts, whatever happened next.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <libpool/collect/deliveries.hpp>
#include <libpool/ring/result_ring.hpp>
#include <libpool/submit/dispatcher.hpp>

namespace libpool::collect {

/// Whose ring is drained.
struct Producer {
  std::uint32_t worker = 0;
  pid_t pid = 0;
  bool doomed = false;  ///< it is being killed for an item that has its outcome: late records of
                        ///< that are no fault
  bool claims_void = false;  ///< the claim words have been scribbled over and all workers are dead:
                             ///< what the ring says of a live chunk counts without them
};

/// Whether to take results out of runs that are still open. Looking at the progress word costs the
/// worker that writes it a cache miss, so it is done before and after a sleep, now and then, and
/// for the dead.
enum class OpenRuns : std::uint8_t { leave, take };

/// Not thread-safe: guarded by the core's mutex.
class Collector {
 public:
  Collector(submit::Dispatcher& dispatcher, std::size_t max_result_size)
      : dispatcher_(dispatcher), max_result_size_(max_result_size) {}

  struct Drained {
    std::size_t outcomes = 0;    ///< items settled
    submit::Job* job = nullptr;  ///< of the last of them
    bool anything = false;       ///< the ring was not empty
    bool disowned = false;  ///< the next record is of a live chunk that another worker holds by its
                            ///< claim word: one of the two is a lie, and the record is left there
    bool corrupt = false;   ///< the worker broke the protocol: kill and bury it, read no more
    std::optional<std::vector<std::byte>> failed_start;  ///< what its initializer threw, encoded
  };

  /// Bytes of a single result, at most.
  [[nodiscard]] std::size_t max_result_size() const noexcept { return max_result_size_; }

  /// Takes all that is published in the ring and, if asked to, the complete results of an open run.
  Drained drain(const Producer& producer, ring::ResultReader& reader, OpenRuns open_runs,
                Deliveries& deliveries);

 private:
  enum class Verdict : std::uint8_t { good, disowned, corrupt };

  [[nodiscard]] bool holds(const Producer& producer, std::uint32_t slot) const noexcept;
  [[nodiscard]] Verdict accept_run(const Producer& producer, const ring::RecordHeader& header,
                                   std::uint32_t items, std::span<const std::byte> payload,
                                   Deliveries& deliveries, Drained& drained);
  [[nodiscard]] Verdict accept(const Producer& producer, const ring::RecordHeader& header,
                               std::span<const std::byte> payload, Deliveries& deliveries,
                               Drained& drained);
  [[nodiscard]] Verdict accept_part(const Producer& producer, const ring::RecordHeader& header,
                                    submit::Chunk& chunk, std::span<const std::byte> payload,
                                    Deliveries& deliveries, Drained& drained);
  [[nodiscard]] std::size_t expected_size(const ring::RecordHeader& header,
                                          std::span<const std::byte> payload) const noexcept;
  void append(const ring::RecordHeader& header, submit::Chunk& chunk,
              std::span<const std::byte> payload, ResultMemory& memory) const;
  void settle(const Producer& producer, const ring::RecordHeader& header, submit::Chunk& chunk,
              std::span<const std::byte> payload, Deliveries& deliveries);

  submit::Dispatcher& dispatcher_;
  std::size_t max_result_size_;
};

}  // namespace libpool::collect
