/// A core without workers: it records what a batch asks of it, and settles nothing by itself.
///
/// Runs in the test, which plays the pool: it feeds and settles batches in whatever order it wants
/// to see.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <libpool/detail/batch.hpp>
#include <libpool/errors.hpp>

namespace libpool::testing {

class FakeCore final : public detail::PoolCore {
 public:
  bool wait(detail::Batch& batch, const std::function<bool()>& ready,
            detail::Deadline deadline) override {
    while (true) {
      const auto seen = batch.changes();
      if (ready()) return true;
      if (!batch.wait_change(seen, deadline)) return ready();
    }
  }
  void notify() noexcept override { ++notified; }
  void room_appeared(detail::Batch& /*batch*/) noexcept override { ++rooms; }
  bool cancel(detail::Batch& batch) override {
    return batch.abandon(std::make_exception_ptr(TaskCancelled()), false);
  }
  void call_back(std::shared_ptr<detail::Errand> callback) noexcept override {
    if (keep_callbacks) {
      callbacks.push_back(std::move(callback));
    } else {
      callback->perform();
    }
  }
  [[nodiscard]] std::size_t size() const noexcept override { return 2; }
  [[nodiscard]] PoolStats stats() override { return {}; }
  void close() override {}
  void terminate() override {}
  void join() override {}

  std::atomic<int> notified{0};
  std::atomic<int> rooms{0};
  bool keep_callbacks = false;  ///< `callbacks` wait until the test runs them
  std::vector<std::shared_ptr<detail::Errand>> callbacks;
};

/// A store attached to a core of its own.
template <class Store>
struct Attached {
  template <class... Arguments>
  explicit Attached(Arguments&&... arguments)
      : core(std::make_shared<FakeCore>()),
        store(std::make_shared<Store>(std::forward<Arguments>(arguments)...)) {
    store->attach(core);
  }
  Attached(const Attached&) = delete;
  Attached& operator=(const Attached&) = delete;
  /// A callback that was never run holds its batch, which holds the core that keeps the callback.
  ~Attached() { core->callbacks.clear(); }
  Store* operator->() const { return store.get(); }

  /// Pulls as many items as the batch wants next; returns how many that were.
  std::size_t pull() const {
    const std::size_t items = store->next_chunk(store->pulled(), 1);
    if (items != 0) store->pulled(items);
    return items;
  }

  std::shared_ptr<FakeCore> core;
  std::shared_ptr<Store> store;
};

/// The text of a `std::exception` behind the pointer.
inline std::string text_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& exception) {
    return exception.what();
  }
}

inline std::exception_ptr error_of(const char* text) {
  return std::make_exception_ptr(std::runtime_error(text));
}

}  // namespace libpool::testing
