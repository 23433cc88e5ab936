/// The bytes that the fuzzer made up, as a script: numbers in the order in which a target asks for
/// them.
///
/// Runs in the fuzzer's own process, as all of this folder does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>

namespace libpool::fuzz {

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

  [[nodiscard]] bool empty() const { return rest_.empty(); }
  [[nodiscard]] std::span<const std::uint8_t> rest() const { return rest_; }

  /// The next number, filled up with zeros where the script ends.
  template <class T>
  T take() {
    T value{};
    const std::size_t bytes = rest_.size() < sizeof value ? rest_.size() : sizeof value;
    std::memcpy(&value, rest_.data(), bytes);
    rest_ = rest_.subspan(bytes);
    return value;
  }
  std::uint32_t below(std::uint32_t bound) { return take<std::uint8_t>() % bound; }

 private:
  std::span<const std::uint8_t> rest_;
};

/// What must hold whatever the script says.
inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

}  // namespace libpool::fuzz
