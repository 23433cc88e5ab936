/// Function tokens: a function named by its module's build-id and its offset there, so that any process
/// running the same binary can find it.
///
/// Runs in the parent, which makes tokens, and in a worker, which resolves them. A token is checked against
/// the modules that the fork server had mapped; what is unknown is refused in the caller.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace libpool::codec {

/// Plain bytes: travels in payloads and in task descriptors.
struct FunctionToken {
  std::array<std::uint8_t, 24> module{};  ///< build-id of the module, at most 20 bytes, zero-padded; else a digest of it
  std::uint64_t offset = 0;               ///< from the module's load address
  friend bool operator==(const FunctionToken&, const FunctionToken&) = default;
};
static_assert(sizeof(FunctionToken) == 32);

/// The executable segments that a process had mapped at one moment. Immutable after construction.
class ModuleMap {
 public:
  /// Of the calling process, now.
  [[nodiscard]] static ModuleMap current();

  /// Throws `PoolError` if the address is in none of the modules, or if its module was unloaded or replaced
  /// since. Thread-safe.
  [[nodiscard]] FunctionToken token_of(const void* function) const;

  /// Null if the module is unknown or the offset is outside its code.
  [[nodiscard]] const void* address_of(const FunctionToken& token) const noexcept;

 private:
  struct Module {
    std::array<std::uint8_t, 24> id{};
    std::uintptr_t base = 0;
    std::uintptr_t code_begin = 0;
    std::uintptr_t code_end = 0;
  };
  std::vector<Module> modules_;
};

}  // namespace libpool::codec
