/// Waiting for a place, and calling the one that waits. Runs in spares and fork servers; see the
/// header.
#include <worker/spare.hpp>

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include <libpool/detail/descriptor_message.hpp>
#include <libpool/detail/system.hpp>
#include <libpool/ring/layout.hpp>

namespace libpool::worker {
namespace {

using detail::system_calls;

const std::uint32_t* futex(const std::atomic<std::uint32_t>& word) noexcept {
  return reinterpret_cast<const std::uint32_t*>(&word);
}

/// The death words of the pool's workers, for a spare to watch.
class Watch {
 public:
  Watch(const WorkerStart& start, const std::uint32_t* called) noexcept;
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch();

  /// Sleeps until a worker dies or the spare is called, if it has not been; wakes for no reason,
  /// too. Tells of the words that are marked now.
  void wait() noexcept;

 private:
  /// The kernel waits for one word more, which is the call.
  static constexpr std::uint32_t most = 127;

  const ring::LaneLayout layout_;
  const int socket_;
  const std::uint32_t* called_;
  std::byte* lanes_ = nullptr;
  std::uint32_t watched_ = 0;
  std::array<futex_waitv, most + 1> words_{};
};

Watch::Watch(const WorkerStart& start, const std::uint32_t* called) noexcept
    : layout_(start.pool), socket_(start.socket), called_(called) {
  // A filter of system calls may kill those that try one it does not know.
  if (system_calls.prctl(PR_GET_SECCOMP, 0) != 0) return;
  void* lanes = system_calls.mmap(nullptr, layout_.total(), PROT_READ, MAP_SHARED,
                                  start.descriptors.lanes, 0);
  if (lanes == MAP_FAILED) return;
  lanes_ = static_cast<std::byte*>(lanes);
  watched_ = std::min(start.pool.workers, most);
}

Watch::~Watch() {
  if (lanes_ != nullptr) system_calls.munmap(lanes_, layout_.total());
}

void Watch::wait() noexcept {
  for (std::uint32_t worker = 0; worker < watched_; ++worker) {
    const ring::DeathWord& death = layout_.header(lanes_ + layout_.offset(worker)).death;
    const std::uint32_t value = death.value();
    words_[worker] = {.val = value,
                      .uaddr = reinterpret_cast<std::uintptr_t>(death.word()),
                      .flags = FUTEX_32,
                      .__reserved = 0};
    // If the server has no room for it, it hears of the death from the kernel.
    if (ring::DeathWord::marked(value)) {
      (void)detail::send_message(socket_, &worker, sizeof worker, {}, false);
    }
  }
  words_[watched_] = {.val = 0,
                      .uaddr = reinterpret_cast<std::uintptr_t>(called_),
                      .flags = FUTEX_32,
                      .__reserved = 0};
  if (watched_ != 0 && system_calls.futex_waitv(words_.data(), watched_ + 1) < 0 &&
      errno != EAGAIN && errno != EINTR) {
    watched_ = 0;  // a kernel that cannot wait for many
  }
  if (watched_ == 0) system_calls.futex_wait(called_, 0, nullptr);
}

}  // namespace

void await_call(WorkerStart& start) noexcept {
  SpareCall& call = *start.call;
  {
    Watch watch(start, futex(call.called));
    while (call.called == 0) watch.wait();
  }
  start.index = call.index;
  start.generation = call.generation;
  system_calls.munmap(&call, sizeof call);
  start.call = nullptr;
}

SpareCall* Spare::prepare() noexcept {
  void* memory = system_calls.mmap(nullptr, sizeof(SpareCall), PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory != MAP_FAILED) call_ = new (memory) SpareCall{};
  return call_;
}

void Spare::forked(Forked process) noexcept {
  // If this fails, workers could call the spare, which the server would take for its death.
  system_calls.madvise(call_, sizeof(SpareCall), MADV_DONTFORK);
  process_ = std::move(process);
}

bool Spare::receive_death(std::uint32_t& index) noexcept {
  return process_.socket &&
         detail::receive_message(socket(), &index, sizeof index, {}).bytes == sizeof index;
}

void Spare::will_be_called() noexcept {
  constexpr std::chrono::microseconds usual{300};
  if (pid() != 0) called_by_ = std::chrono::steady_clock::now() + usual;
}

bool Spare::called_soon() const noexcept {
  return pid() != 0 && std::chrono::steady_clock::now() < called_by_;
}

Forked Spare::call(std::uint32_t index, std::uint32_t generation) noexcept {
  std::uint32_t ignored = 0;
  while (receive_death(ignored)) {
  }
  call_->index = index;
  call_->generation = generation;
  call_->called = 1;
  system_calls.futex_wake(futex(call_->called), 1);
  Forked called = std::move(process_);
  forget();
  return called;
}

void Spare::forget() noexcept {
  if (call_ != nullptr) system_calls.munmap(std::exchange(call_, nullptr), sizeof(SpareCall));
  process_ = {};
  called_by_ = {};
}

}  // namespace libpool::worker
