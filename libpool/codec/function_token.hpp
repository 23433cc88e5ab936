/// Function tokens: a function named by its module's build-id and its offset there, so that any
/// process running the same binary can find it.
///
/// Runs in the parent, which makes tokens, and in a worker, which resolves them. A token is checked
/// against the modules that the fork server had mapped; what is unknown is refused in the caller.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <libpool/detail/export.hpp>

namespace libpool::codec {

/// Plain bytes: travels in payloads.
struct FunctionToken {
  std::array<std::uint8_t, 24>
      module{};  ///< build-id of the module, at most 20 bytes, zero-padded; else a digest of it
  std::uint64_t offset = 0;  ///< from the module's load address
  friend bool operator==(const FunctionToken&, const FunctionToken&) = default;
};
static_assert(sizeof(FunctionToken) == 32);

/// The executable segments that a process had mapped at one moment. Immutable after construction;
/// all members are thread-safe.
class LIBPOOL_EXPORT ModuleMap {
 public:
  /// Of the calling process, now.
  [[nodiscard]] static ModuleMap current();

  /// The token of a function, also of one that is reached through this process's linkage table.
  /// Throws `PoolError` if the address is in none of the modules, or if its module was unloaded or
  /// replaced since. Costs a search, and one look at the loader's counters.
  [[nodiscard]] FunctionToken token_of(const void* function) const;

  /// Null if the module is unknown or the offset is outside its code.
  [[nodiscard]] const void* address_of(const FunctionToken& token) const noexcept;

 private:
  /// One executable segment of a module.
  struct Module {
    std::array<std::uint8_t, 24> id{};
    std::uintptr_t base = 0;  ///< the load address, which offsets count from
    std::uintptr_t code_begin = 0;
    std::uintptr_t code_end = 0;
  };

  [[nodiscard]] bool is_still_loaded(const Module& module) const;

  std::vector<Module> modules_;     ///< by code_begin
  unsigned long long removed_ = 0;  ///< how many modules had been unloaded by then
};

}  // namespace libpool::codec
