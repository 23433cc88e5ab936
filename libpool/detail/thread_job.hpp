/// A thread pool's half of a batch: its input, its function, and how a chunk of it runs.
///
/// Runs in the parent: `pull` on the batch's feeding thread, `run` on a worker thread. Neighbours:
/// the core of the thread pool on one side, the batch's source and store on the other. A crash in
/// `run` is the program's.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <libpool/detail/batch.hpp>
#include <libpool/detail/callable.hpp>
#include <libpool/detail/export.hpp>
#include <libpool/detail/job_list.hpp>
#include <libpool/detail/thread_run.hpp>
#include <libpool/errors.hpp>

namespace libpool::detail {

class ThreadJob;

/// Consecutive items of a batch. `items` is what the job pulled; parts of one pull share it.
struct ThreadChunk {
  std::shared_ptr<ThreadJob> job;
  std::shared_ptr<void> items;
  std::size_t first_index = 0;  ///< place in the batch of item 0
  std::size_t begin = 0;        ///< items of `items`
  std::size_t end = 0;
  std::unique_ptr<ThreadChunk> behind = nullptr;  ///< in the queue

  [[nodiscard]] std::size_t size() const noexcept { return end - begin; }
};

/// The untyped half.
class LIBPOOL_EXPORT ThreadJob : public Errand,
                                 public JobList<ThreadJob>::Link,
                                 public std::enable_shared_from_this<ThreadJob> {
 public:
  struct Pulled {
    std::shared_ptr<void> items = nullptr;
    std::size_t count = 0;
    bool ended = false;  ///< after these items, by itself or for `input_error`
    std::exception_ptr input_error = nullptr;
    std::exception_ptr item_error =
        nullptr;  ///< one more was pulled, and could not be copied for this
  };

  explicit ThreadJob(std::shared_ptr<Batch> batch) noexcept : batch_(std::move(batch)) {}
  virtual ~ThreadJob() = default;

  [[nodiscard]] Batch& batch() const noexcept { return *batch_; }

  /// Feeds the job, on a helper thread.
  void perform() noexcept final;

  /// At most `limit` items. Throws `std::bad_alloc`, having pulled nothing.
  [[nodiscard]] virtual Pulled pull(std::size_t limit) = 0;

  /// The feeding thread lets go of the input, which may be the caller's.
  virtual void drop_source() noexcept = 0;
  /// Runs the items of the chunk and hands their outcomes to the store.
  virtual void run(const ThreadChunk& chunk, ThreadRun& run) noexcept = 0;

  // Guarded by the core's mutex.
  std::size_t chunks = 0;         ///< queued or running
  bool feeding = false;           ///< a thread takes feeding steps, or has been asked to
  bool feed_again = false;        ///< room appeared meanwhile
  bool waits_for_chunks = false;  ///< feeding goes on when fewer chunks are in the pool
  bool fed = false;               ///< nothing more will be pulled

 private:
  const std::shared_ptr<Batch> batch_;
};

/// Elements that lie side by side in a container of the batch's own.
template <class Element>
struct ElementRow {
  Element* first = nullptr;
};

/// What a pull keeps of its items: places in the batch's own container or in the caller's, or the
/// arguments themselves.
template <class Source>
struct ItemsOf {
  using type = std::vector<typename Source::Arguments>;
};
template <class Source>
  requires(Source::keeps_elements && Source::side_by_side)
struct ItemsOf<Source> {
  using type = ElementRow<typename Source::Element>;
};
template <class Source>
  requires(Source::keeps_elements && !Source::side_by_side)
struct ItemsOf<Source> {
  using type = std::vector<typename Source::Element*>;
};

/// Elements of the caller's that are copied some at a time.
template <class Source>
concept CopiedInBlocks = Source::borrows && requires(Source& source) { source.contiguous(); } &&
                         sizeof(typename Source::Element) <= 256;

template <class F, class Source, class Store>
class TypedThreadJob final : public ThreadJob {
  using Items = typename ItemsOf<Source>::type;
  using Received = typename Source::Received;
  using Result = typename Store::Result;
  using Call = TaskCall<F, Received>;

 public:
  TypedThreadJob(F&& function, Source&& source, std::shared_ptr<Store> store)
      : ThreadJob(store),
        function_(std::move(function)),
        source_(std::move(source)),
        store_(*store) {}

  [[nodiscard]] Pulled pull(std::size_t limit) override {
    Pulled pulled;
    if constexpr (Source::single) {
      pulled.count = 1;
      pulled.ended = true;
    } else {
      auto items = std::make_shared<Items>();
      try {
        take(*items, limit, pulled);
      } catch (...) {
        pulled.ended = true;
        pulled.input_error = std::current_exception();
      }
      pulled.items = std::move(items);
    }
    return pulled;
  }

  void drop_source() noexcept override {
    // Where the items are places in the batch's own container, it lives as long as they do.
    if constexpr (!Source::single) {
      if constexpr (!Source::keeps_elements || Source::borrows) source_.reset();
    }
  }

  void run(const ThreadChunk& chunk, ThreadRun& run) noexcept override {
    if constexpr (Call::constant || Source::single) {
      run_items(function_, chunk, run);
    } else {
      static_assert(
          std::is_copy_constructible_v<F>,
          "libpool: a function whose call operator is not const is copied for each chunk");
      std::optional<F> own;  // the state of a mutable function lives for one chunk
      try {
        own.emplace(std::as_const(function_));
      } catch (...) {
        return fail_items(std::current_exception(), chunk, run);
      }
      run_items(*own, chunk, run);
    }
  }

 private:
  // -- pulling -----------------------------------------------------------------------------------

  void take(Items& items, std::size_t limit, Pulled& pulled) {
    if constexpr (requires { source_->contiguous(); }) {
      const auto left = source_->contiguous();
      const std::size_t count = std::min(limit, left.size());
      if constexpr (Source::keeps_elements) {
        items.first = const_cast<typename Source::Element*>(left.data());
      } else {
        items.assign(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(count));
      }
      pulled.count = count;
      source_->skip(count);
      pulled.ended = pulled.count == left.size();
    } else if constexpr (Source::keeps_elements) {
      const auto keep = [&](auto* element) { take_place(items, element, pulled); };
      while (pulled.count < limit && !pulled.item_error && !pulled.ended) {
        pulled.ended = !source_->next_element(keep);
      }
    } else {
      const auto copy = [&](auto&&... arguments) {
        take_arguments(items, pulled, std::forward<decltype(arguments)>(arguments)...);
      };
      const auto fail = [&](std::exception_ptr error) { pulled.item_error = std::move(error); };
      while (pulled.count < limit && !pulled.item_error && !pulled.ended) {
        pulled.ended = !source_->next(copy, fail);
      }
    }
  }

  template <class Element>
  static void take_place(Items& items, Element* element, Pulled& pulled) noexcept {
    if constexpr (Source::side_by_side) {
      if (pulled.count == 0) items.first = element;
      ++pulled.count;
    } else {
      try {
        items.push_back(element);
        ++pulled.count;
      } catch (...) {
        pulled.item_error = std::current_exception();
      }
    }
  }

  template <class... Given>
  static void take_arguments(Items& items, Pulled& pulled, Given&&... arguments) noexcept {
    static_assert(std::is_constructible_v<typename Source::Arguments, Given&&...>,
                  "libpool: elements of an lvalue or a view are copied, and these cannot be: pass "
                  "the container with std::move");
    try {
      items.emplace_back(std::forward<Given>(arguments)...);
      ++pulled.count;
    } catch (...) {
      pulled.item_error = std::current_exception();
    }
  }

  // -- running -----------------------------------------------------------------------------------

  template <class Function>
  void run_items(Function& function, const ThreadChunk& chunk, ThreadRun& run) noexcept {
    typename Call::Callee callee = function;
    const std::size_t first = chunk.first_index + chunk.begin;
    if constexpr (Source::single) {
      const auto call = [&](std::size_t) -> decltype(auto) {
        return call_with(callee, source_->arguments());
      };
      (void)run_block(first, chunk.size(), call, run);
    } else {
      auto& items = *static_cast<Items*>(chunk.items.get());
      const std::size_t begin = chunk.begin;
      if constexpr (CopiedInBlocks<Source>) {
        run_blocks(callee, items.first + begin, first, chunk.size(), run);
      } else if constexpr (!Source::keeps_elements) {
        const auto call = [&](std::size_t item) -> decltype(auto) {
          return call_with(callee, items[begin + item]);
        };
        (void)run_block(first, chunk.size(), call, run);
      } else {
        using First = std::tuple_element_t<0, Received>;
        [[maybe_unused]] std::optional<std::remove_const_t<typename Source::Element>> copy;
        const auto call = [&](std::size_t item) -> decltype(auto) {
          auto& element = element_of(items, begin + item);
          if constexpr (Source::borrows) {
            // Stays until the next, because a result may refer to it.
            if (!store_.borrowing.read([&] { copy.emplace(element); })) throw TaskCancelled();
            return std::invoke(callee, static_cast<First>(*copy));
          } else {
            return std::invoke(callee, static_cast<First>(element));
          }
        };
        (void)run_block(first, chunk.size(), call, run);
      }
    }
  }

  template <class Callee, class Value>
  void run_blocks(Callee& callee, const Value* elements, std::size_t first, std::size_t count,
                  ThreadRun& run) noexcept {
    using First = std::tuple_element_t<0, Received>;
    constexpr std::size_t block = 8192 / sizeof(Value);
    alignas(Value) std::array<std::byte, block * sizeof(Value)> bytes;
    auto* const copies = reinterpret_cast<Value*>(bytes.data());
    const auto call = [&callee, copies](std::size_t item) -> decltype(auto) {
      return std::invoke(callee, static_cast<First>(copies[item]));
    };
    for (std::size_t begin = 0; begin != count;) {
      const std::size_t items = std::min(count - begin, block);
      const auto copy = [&] { std::memcpy(bytes.data(), elements + begin, items * sizeof(Value)); };
      if (!store_.borrowing.read(copy)) return;
      if (!run_block(first + begin, items, call, run)) return;
      begin += items;
    }
  }

  static auto& element_of(Items& items, std::size_t item) noexcept {
    if constexpr (Source::side_by_side) {
      return items.first[item];
    } else {
      return *items[item];
    }
  }

  /// Runs `call(0)` up to `call(count - 1)`, whose places in the batch begin with `first`. False
  /// if nobody wants what comes after them.
  template <class CallItem>
  bool run_block(std::size_t first, std::size_t count, const CallItem& call,
                 ThreadRun& run) noexcept {
    if constexpr (requires { store_.places(first, count); }) {
      if (!run.timed()) return run_into_places(first, count, call, run);
    }
    for (std::size_t index = first; index != first + count; ++index) {
      if (!run.begin(index)) return false;
      std::exception_ptr error;
      try {
        if constexpr (std::is_void_v<typename Call::Raw>) {
          call(index - first);
          if (!run.finish()) return false;
          succeed(index, std::monostate{}, run);
        } else {
          Result result(call(index - first));
          if (!run.finish()) return false;
          succeed(index, std::move(result), run);
        }
        continue;
      } catch (...) {
        error = std::current_exception();
      }
      // Handed over whole, out of the handler, which would hold it until its end.
      if (!run.finish()) return false;
      fail(index, std::move(error), run);
    }
    return true;
  }

  /// The same, with results written straight to where the caller gets them.
  template <class CallItem>
  bool run_into_places(std::size_t first, std::size_t count, const CallItem& call,
                       ThreadRun& run) noexcept {
    const Batch& batch = this->batch();
    std::size_t& task = run.task();
    std::size_t item = 0;
    while (item != count) {
      const std::span<Result> places = store_.places(first + item, count - item);
      const std::size_t begin = item;
      const std::size_t end = item + places.size();
      std::exception_ptr error;
      try {
        for (; item != end && !batch.abandoned(); ++item) {
          task = first + item;
          places[item - begin] = call(item);
        }
      } catch (...) {
        error = std::current_exception();
      }
      // The last one came too late if the batch was abandoned meanwhile.
      const bool wanted = run.finish();
      run.add(ItemEnd::succeeded, item - begin - (!wanted && !error && item != begin ? 1 : 0));
      if (!wanted) return false;
      if (error) fail(first + item++, std::move(error), run);
    }
    return true;
  }

  template <class Callee>
  static decltype(auto) call_with(Callee& callee, typename Source::Arguments& arguments) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) -> decltype(auto) {
      return std::invoke(callee,
                         static_cast<std::tuple_element_t<I, Received>>(std::get<I>(arguments))...);
    }(std::make_index_sequence<std::tuple_size_v<Received>>{});
  }

  // -- settling: an item of a stream, or one with a timeout, at once; others with their chunk ----

  void succeed(std::size_t index, Result&& result, ThreadRun& run) noexcept {
    if (Store::yields_items || run.timed()) {
      run.count_one(ItemEnd::succeeded);
      store_.store(index, std::move(result));
    } else {
      run.add(ItemEnd::succeeded);
      store_.put(index, std::move(result));
    }
  }

  void fail(std::size_t index, std::exception_ptr error, ThreadRun& run) noexcept {
    if (Store::yields_items || run.timed()) {
      run.count_one(ItemEnd::failed);
      store_.fail(index, std::move(error));
    } else {
      run.add(ItemEnd::failed);
      store_.put_error(index, std::move(error));
    }
  }

  void fail_items(const std::exception_ptr& error, const ThreadChunk& chunk,
                  ThreadRun& run) noexcept {
    for (std::size_t item = chunk.begin; item != chunk.end; ++item) {
      if (!run.begin(chunk.first_index + item) || !run.finish()) return;
      fail(chunk.first_index + item, error, run);
    }
  }

  F function_;
  std::optional<Source> source_;
  Store& store_;  // the job's batch
};

}  // namespace libpool::detail
