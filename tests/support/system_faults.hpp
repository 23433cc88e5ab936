/// Makes the n-th call of one system call fail, or all from then on, or kill its caller, in a
/// chosen generation of processes.
///
/// Runs in the test's program and in everything forked from it. The plan lies in a page that all of
/// them share; each process knows how many forks of the library it is away from the host. Where
/// the library asks the C library instead of its table (shared mappings, threads), the program's
/// own definition of that function stands in between.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>

namespace libpool::testing::faults {

enum class Action {
  fail,          ///< once
  keep_failing,  ///< from then on
  kill,          ///< the caller
};

/// Who makes the call: the host is 0, what it forks through the library 1 (a fork server, or the
/// prefork root), and so on.
struct Plan {
  int generation = 0;
  std::size_t call = 0;  ///< index in `calls`, or `any_call`
  int error = 0;         ///< an `errno`, or `truncated`
  long nth = 0;          ///< from 1
  Action action = Action::fail;
};

/// For `recvmsg`: the message comes without its descriptors, as to a process that has no room for
/// them.
inline constexpr int truncated = -1;

/// Every call counts.
inline constexpr std::size_t any_call = 1000;

struct Call {
  const char* name;
  std::span<const int> errors;  ///< what it may fail with, however right its arguments are
};

/// All calls that may fail.
[[nodiscard]] std::span<const Call> calls() noexcept;

/// Puts the failing calls into the table, for as long as the program runs. They behave as the real
/// ones until a plan is armed.
void install() noexcept;

void arm(const Plan& plan) noexcept;
void disarm() noexcept;

/// Whether the call that was planned has come.
[[nodiscard]] bool fired() noexcept;

/// When it came: `CLOCK_MONOTONIC`, nanoseconds.
[[nodiscard]] long long fired_at() noexcept;

[[nodiscard]] std::string describe(const Plan& plan);

}  // namespace libpool::testing::faults
