/// Memory that nobody has touched yet, before it is filled.
///
/// Runs in the parent and in workers, for results and arguments that are large. A death changes
/// nothing here.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>

#include <libpool/detail/export.hpp>

namespace libpool::detail {

/// Which pages come faster: huge ones cost a third of what as much memory in small ones does, or,
/// where a virtual machine has given them back to its host, ten times as much. A machine keeps
/// those that it has got back for a while, so that they are tried again and again. (Where the
/// kernel gives huge pages unasked there is no choice.)
///
/// Pure: takes times and returns answers. Thread-safe, and without a lock that a forked child could
/// find closed: a race costs one worse answer.
class LIBPOOL_EXPORT PageSizes {
 public:
  /// Whether the next piece of memory is to have huge pages.
  [[nodiscard]] bool next_huge() noexcept;

  /// So many bytes of fresh memory took so long.
  void note(bool huge, std::size_t bytes, std::chrono::nanoseconds time) noexcept;

 private:
  /// Pieces that have small pages after huge ones have cost more: they cost about as much together
  /// as the one look at the others.
  static constexpr int small_in_a_row = 8;
  /// Pieces of huge pages until what small ones cost is looked at again.
  static constexpr int most_huge_in_a_row = 64;

  std::atomic<double> small_cost_{0};  ///< ns a byte
  std::atomic<int> small_left_{1};     ///< the first one tells what to compare with
  std::atomic<int> huge_in_a_row_{0};
};

/// Gets the pages of memory that is about to be written from the kernel in one call, where there
/// are many that are not there yet, and huge ones where they come faster (see `PageSizes`): one by
/// one, each by a fault of its own, they cost about as much as filling them twice more. Pages that
/// are there but shared with a forked child are left to their faults. Changes no byte. A kernel
/// that cannot do it (before Linux 5.14) leaves all to their faults, with huge pages if it can.
LIBPOOL_EXPORT void populate(void* memory, std::size_t bytes) noexcept;

/// The same for memory that is filled step by step, `capacity` bytes of it: before those from
/// `begin` up to `end` are written, now and then gets pages of the next 4 to 6 MiB.
LIBPOOL_EXPORT void populate_ahead(void* memory, std::size_t begin, std::size_t end,
                                   std::size_t capacity) noexcept;

}  // namespace libpool::detail
