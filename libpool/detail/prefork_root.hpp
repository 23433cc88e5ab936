/// The parent's side of the prefork root, as the fork server client uses it.
///
/// Runs in the parent. If the root dies, `root_of_this_process` says that there is none.
#pragma once

#include <memory>

#include <libpool/codec/function_token.hpp>
#include <libpool/detail/file_descriptor.hpp>

namespace libpool::detail {

/// Immutable once made, so any number of threads may use it.
struct PreforkRoot {
  FileDescriptor channel;  ///< any thread may send a request: messages are not mixed
  FileDescriptor process;  ///< the root's pidfd
  std::shared_ptr<const codec::ModuleMap> modules;
  std::uint64_t owner = 0;  ///< identity of the process that called `prefork`
};

/// The root that this process has made, if it is alive; else null. It lives as long as the process.
[[nodiscard]] const PreforkRoot* root_of_this_process() noexcept;

}  // namespace libpool::detail
