/// The life of a pool under a fault, lived in a child of the test: a hang or an abort is then a
/// finding like others.
///
/// A fault may cost the call that it hits, or the pool; it may not cost a wrong value, a process, a
/// descriptor, or the end of a wait.
#pragma once

#include <sys/prctl.h>

#include <array>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <system_error>

#include <libpool/libpool.hpp>
#include <tests/crash/tasks.hpp>
#include <tests/support/footprint.hpp>
#include <tests/support/oracle.hpp>

namespace crash {

/// What a life says of itself by its exit status.
enum Verdict { fine, wrong_value, leak, processes_left, foreign_exception, no_recovery };

inline constexpr std::array verdicts{"fine",
                                     "a wrong value",
                                     "a leak",
                                     "processes left behind",
                                     "an exception that the contract does not know",
                                     "no recovery"};

/// What one life has seen so far.
class Life {
 public:
  /// `after_call` runs after each call, whatever became of it.
  explicit Life(void (*after_call)() = [] {}) : after_call_(after_call) {}

  /// Runs one call. True if it returned; what it may throw is an answer, too.
  template <class Call>
  bool step(Call call) {
    bool returned = false;
    try {
      call();
      returned = true;
    } catch (const libpool::PoolBroken&) {
      broken_ = true;
    } catch (const libpool::PoolError&) {
    } catch (const std::system_error&) {
    } catch (const std::bad_alloc&) {
    } catch (const std::exception& error) {
      std::fprintf(stderr, "unexpected: %s\n", error.what());
      verdict_ = foreign_exception;
    }
    after_call_();
    return returned;
  }
  void expect(bool right) {
    if (!right) verdict_ = wrong_value;
  }
  /// One fault costs one call: of two calls, one succeeds, or the pool is broken.
  template <class Call>
  void recover(Call call) {
    const bool once = step(call);
    if (!step(call) && !once && !broken_) verdict_ = no_recovery;
  }
  [[nodiscard]] Verdict verdict() const { return verdict_; }

 private:
  void (*after_call_)();
  Verdict verdict_ = fine;
  bool broken_ = false;
};

/// What the process holds more than before, though it has had the time to end.
inline Verdict left_behind(const libpool::testing::Footprint& before) {
  // Where the fork server had to be killed, nobody has reaped its workers.
  static_cast<void>(oracle::eventually([] {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    return ::waitpid(-1, nullptr, WNOHANG) < 0;
  }));
  const std::string growth = libpool::testing::settled_growth(before);
  if (growth.empty()) return fine;
  std::fprintf(stderr, "left behind: %s\n", growth.c_str());
  return growth.find("child") != std::string::npos ? processes_left : leak;
}

/// Lives in a child; what `live` returns is its verdict. What it saw, in words, or nothing if all
/// was fine.
template <class Live>
std::string seen_in_child(Live live) {
  constexpr unsigned limit_seconds = oracle::sanitized ? 100 : 20;
  const int status = oracle::status_of_child(
      [&] {
        ::prctl(PR_SET_CHILD_SUBREAPER, 1);
        return static_cast<int>(live());
      },
      limit_seconds);
  if (status == 0) return {};
  if (WIFSIGNALED(status)) {
    if (WTERMSIG(status) == SIGALRM) return "a hang";
    return "killed by signal " + std::to_string(WTERMSIG(status));
  }
  const auto verdict = static_cast<std::size_t>(WEXITSTATUS(status));
  return verdict < verdicts.size() ? verdicts[verdict] : "exit " + std::to_string(verdict);
}

}  // namespace crash
