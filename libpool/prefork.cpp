/// Making the prefork root, once.
///
/// Runs in the parent; the root starts its life here. See `worker/root_server.hpp` for what deaths
/// leave.
#include <libpool/prefork.hpp>

#include <poll.h>
#include <sys/wait.h>

#include <atomic>
#include <memory>
#include <mutex>

#include <libpool/detail/fork_process.hpp>
#include <libpool/detail/prefork_root.hpp>
#include <libpool/detail/process_identity.hpp>
#include <libpool/detail/system.hpp>
#include <worker/root_server.hpp>
#include <worker/worker_start.hpp>

namespace libpool {
namespace {

using detail::PreforkRoot;
using detail::system_calls;

constinit std::mutex making;

/// Never freed: threads may be using it at any time, and the root lives as long as the program.
constinit std::atomic<PreforkRoot*> made{nullptr};

std::unique_ptr<PreforkRoot> make_root() {
  auto root = std::make_unique<PreforkRoot>();
  root->owner = detail::process_identity();
  root->modules = std::make_shared<const codec::ModuleMap>(codec::ModuleMap::current());
  auto [ours, theirs] = detail::create_channel();
  const detail::FileDescriptor host = detail::own_pidfd();
  worker::RootServerStart start{
      .channel = theirs.get(), .host = host.get(), .modules = root->modules.get()};
  detail::ForkedProcess forked = detail::fork_process(
      [](void* context) {
        worker::run_root_server(*static_cast<const worker::RootServerStart*>(context));
      },
      &start);
  root->channel = std::move(ours);
  root->process = std::move(forked.process);
  return root;
}

}  // namespace

void prefork() {
  if (worker::inside_worker()) return;
  const std::lock_guard lock(making);
  const PreforkRoot* root = made.load();
  // A child that the program forks may call it for itself; the root of its parent is not its own.
  if (root != nullptr && root->owner == detail::process_identity()) return;
  made.store(make_root().release());
}

const detail::PreforkRoot* detail::root_of_this_process() noexcept {
  const PreforkRoot* root = made.load();
  if (root == nullptr || root->owner != process_identity()) return nullptr;
  pollfd process{root->process.get(), POLLIN, 0};
  if (retry_interrupted([&] { return system_calls.poll(&process, 1, 0); }) == 0) return root;
  siginfo_t ignored{};  // reaped here, unless another thread was faster
  system_calls.waitid(P_PIDFD, static_cast<id_t>(process.fd), &ignored, WEXITED | WNOHANG);
  return nullptr;
}

}  // namespace libpool
