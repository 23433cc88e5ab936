/// What the files of the contract suite share: the list of pools, small tasks, and an input range
/// that can fail wherever a test wants.
///
/// Runs in the test; the tasks run in workers of both pools. Nothing here outlives a test.
#pragma once

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <iterator>
#include <mutex>
#include <numeric>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

#include <libpool/libpool.hpp>
#include <tests/support/oracle.hpp>

/// One fact that holds for both pools; inside, `Pool` is the pool's type.
#define BOTH_POOLS(fact) TEST_CASE_TEMPLATE(fact, Pool, libpool::ProcessPool, libpool::ThreadPool)

namespace contract {

using namespace std::chrono_literals;
using libpool::ProcessPool;
using libpool::ThreadPool;

template <class Pool>
inline constexpr bool has_processes = std::is_same_v<Pool, ProcessPool>;

inline int square(int x) { return x * x; }
inline int add(int x, int y) { return x + y; }
inline void nothing(int) {}
inline int count_and_return(int item) {
  oracle::count_execution(item);
  return item;
}
/// Counts, then stays until the test opens the gate.
inline int wait_at_gate(int item) {
  oracle::count_execution(item);
  oracle::pass_gate();
  return item;
}
/// Item 0 stays until the gate opens, the others return at once.
inline int first_waits(int item) {
  oracle::count_execution(item);
  if (item == 0) oracle::pass_gate();
  return item;
}
inline int throw_if_odd(int x) {
  if (x % 2 != 0) throw std::out_of_range("odd: " + std::to_string(x));
  return x;
}

/// 0 ... n - 1.
inline std::vector<int> numbers(int n) {
  std::vector<int> values(static_cast<std::size_t>(n));
  std::iota(values.begin(), values.end(), 0);
  return values;
}
inline std::vector<int> squares(int n) {
  std::vector<int> values = numbers(n);
  for (int& value : values) value *= value;
  return values;
}

/// What a range or a pool gives until it ends.
template <class Range>
auto drain(Range&& results) {
  std::vector<std::ranges::range_value_t<Range>> values;
  for (auto&& value : results) values.push_back(std::forward<decltype(value)>(value));
  return values;
}

/// ThreadSanitizer sees no reference counts of exceptions: none that a test has looked at may end
/// on another thread.
inline void keep_for_ever(std::exception_ptr error) {
  static std::mutex mutex;
  static std::vector<std::exception_ptr> kept;
  const std::lock_guard lock(mutex);
  kept.push_back(std::move(error));
}

/// Catches `E` from `call` and hands it back, so that a test can look at it; nothing if another
/// exception came, or none.
template <class E, class Call>
std::optional<E> caught(Call&& call) {
  try {
    call();
  } catch (const E& error) {
    keep_for_ever(std::current_exception());
    return error;
  } catch (...) {
    return std::nullopt;
  }
  return std::nullopt;
}

/// A single-pass view over 0, 1, 2 ...: it may end, never end, throw, wait, and it says how far it
/// was pulled. What it counts lives in `Script`, which must live until the job ends.
struct Script {
  int items = -1;           ///< negative: endless
  int throws_at = -1;       ///< the element that throws
  bool on_advance = false;  ///< it throws when the iterator moves onto it, else when it is read
  int waits_at = -1;        ///< the element that waits for `release`
  std::atomic<bool> waits{false};
  std::atomic<bool> release{false};
  std::atomic<int> read{0};
  std::atomic<bool> ended{false};
};

struct InputBroke : std::runtime_error {
  InputBroke() : std::runtime_error("the input broke") {}
};

class Scripted : public std::ranges::view_base {
 public:
  class Iterator {
   public:
    using value_type = int;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    Iterator() = default;
    explicit Iterator(Script* script) : script_(script) { arrive(); }
    Iterator(Iterator&&) = default;
    Iterator& operator=(Iterator&&) = default;

    int operator*() const {
      if (!script_->on_advance && at_ == script_->throws_at) throw InputBroke();
      if (at_ == script_->waits_at) {
        script_->waits = true;
        static_cast<void>(oracle::eventually([this] { return script_->release.load(); }));
      }
      script_->read = at_ + 1;
      return at_;
    }
    Iterator& operator++() {
      ++at_;
      arrive();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& iterator, std::default_sentinel_t) {
      const bool end = iterator.at_ == iterator.script_->items;
      if (end) iterator.script_->ended = true;
      return end;
    }

   private:
    void arrive() const {
      if (script_->on_advance && at_ == script_->throws_at) throw InputBroke();
    }
    Script* script_ = nullptr;
    int at_ = 0;
  };

  explicit Scripted(Script& script) : script_(&script) {}
  [[nodiscard]] Iterator begin() const { return Iterator(script_); }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }

 private:
  Script* script_;
};

/// A view that says `size()` elements and yields what its script says.
class Boastful : public Scripted {
 public:
  Boastful(Script& script, std::size_t says) : Scripted(script), says_(says) {}
  [[nodiscard]] std::size_t size() const { return says_; }

 private:
  std::size_t says_;
};

}  // namespace contract
