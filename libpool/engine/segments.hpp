/// The shared memory of one pool and the pipes beside it, as the parent holds them.
///
/// Made by the parent before the fork server; its workers map the same files. All of it is
/// anonymous, so nothing is left behind by any death.
#pragma once

#include <vector>

#include <libpool/detail/file_descriptor.hpp>
#include <libpool/memory/arena.hpp>
#include <libpool/memory/segment.hpp>
#include <libpool/options.hpp>
#include <libpool/ring/layout.hpp>
#include <libpool/ring/pool_description.hpp>

namespace libpool::engine {

/// Sizes made fit: powers of two where the rings need them. Throws `std::invalid_argument` for what
/// makes no sense.
[[nodiscard]] ring::PoolDescription describe(std::size_t workers, const PoolOptions& options);

/// Immutable after construction, except for the memory itself. Throws `std::system_error`.
class Segments {
 public:
  explicit Segments(const ring::PoolDescription& pool);

  [[nodiscard]] ring::WaitingWord& waiting() const noexcept;
  [[nodiscard]] std::span<ring::StopWord> stops() const noexcept;
  [[nodiscard]] ring::TaskPublisher publisher() const;
  /// Of all lanes; each reserves the rest of its lane when it is worth it.
  [[nodiscard]] std::vector<ring::ResultReader> readers();
  [[nodiscard]] std::byte* arena_base() const noexcept;

  /// The arena over the task file, which it reserves in steps.
  [[nodiscard]] memory::Arena arena();

  /// What the fork server is to get; the channel is its client's affair.
  [[nodiscard]] ring::PoolDescriptors descriptors() const noexcept;

  [[nodiscard]] int doorbell() const noexcept { return doorbell_read_.get(); }

 private:
  ring::PoolDescription pool_;
  ring::TaskLayout task_layout_;
  ring::ClaimLayout claim_layout_;
  ring::LaneLayout lane_layout_;
  memory::MemoryFile tasks_;
  memory::MemoryFile claims_;
  memory::MemoryFile lanes_;
  memory::Mapping task_region_;
  memory::Mapping claim_region_;
  memory::Mapping lane_region_;
  detail::FileDescriptor doorbell_read_;
  detail::FileDescriptor doorbell_write_;
};

}  // namespace libpool::engine
