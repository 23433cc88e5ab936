/// The typed half of a process batch: how its function, items and results become bytes and come
/// back.
///
/// Runs in the parent, between the input (`source.hpp`) and the core. Its twin in the workers is
/// `run_chunk` (`chunk_runner.hpp`). A worker's death never interrupts it.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <libpool/codec/block_receiver.hpp>
#include <libpool/codec/codec.hpp>
#include <libpool/codec/type_name.hpp>
#include <libpool/detail/callable.hpp>
#include <libpool/detail/chunk_codec.hpp>
#include <libpool/detail/chunk_runner.hpp>
#include <libpool/detail/error_types.hpp>
#include <libpool/detail/forced_unwind.hpp>
#include <libpool/detail/task_callable.hpp>

namespace libpool::detail {

// -- the layout of an item -----------------------------------------------------------------------

/// A source whose items lie in memory as they lie in a payload.
template <class Source>
concept EncodedInBulk =
    item_stride<typename Source::Arguments> != 0 &&
    std::tuple_size_v<typename Source::Arguments> == 1 && requires(Source& source) {
      {
        source.contiguous()
      } -> std::same_as<std::span<const std::tuple_element_t<0, typename Source::Arguments>>>;
    };

/// Appends one item. Throws `SerializationError` or what the writer throws.
template <class Arguments, class... A>
void encode_item(codec::ContiguousWriter& out, const A&... arguments) {
  if constexpr (item_stride<Arguments> != 0) {
    (codec::encode(out, arguments), ...);
  } else {
    const std::size_t length_at = out.position();
    const std::uint64_t unknown = 0;
    out.write(&unknown, sizeof unknown);
    const std::size_t begin = out.position();
    (codec::encode(out, arguments), ...);
    out.patch(length_at, out.position() - begin);
    out.align(8);
  }
}

// -- the parent's side ---------------------------------------------------------------------------

/// A vector or a string that comes in pieces.
template <class Store>
class BlockReception final : public Reception {
  using Result = typename Store::Result;

 public:
  BlockReception(std::shared_ptr<Store> store, codec::BlockReceiver<Result>&& receiver)
      : store_(std::move(store)), receiver_(std::move(receiver)) {}

  void append(std::span<const std::byte> bytes) override { receiver_.append(bytes); }
  [[nodiscard]] std::size_t size() const noexcept override { return receiver_.size(); }
  bool complete(std::size_t index) noexcept override {
    if (receiver_.whole()) {
      store_->store(index, receiver_.take());
      return true;
    }
    try {
      throw SerializationError("its count does not match its bytes", codec::type_name<Result>());
    } catch (...) {
      store_->fail(index, std::current_exception());
    }
    return false;
  }

 private:
  const std::shared_ptr<Store> store_;
  codec::BlockReceiver<Result> receiver_;
};

/// Encodes the chunks of one batch and decodes its results. Members as in `ChunkCodec`.
template <class F, class Source, class Store>
class TypedChunkCodec final : public ChunkCodec {
 public:
  using Arguments = typename Source::Arguments;
  using Result = typename Store::Result;

  /// Throws `PoolError` if `f`, or this template's code, lies in a module that workers do not have.
  /// `modules` must outlive the codec.
  TypedChunkCodec(F f, Source source, std::shared_ptr<Store> store, const codec::ModuleMap& modules)
      : f_(std::move(f)), source_(std::move(source)), store_(std::move(store)), modules_(modules) {
    constexpr ChunkRunner run = &run_chunk<F, Arguments, typename Source::Received>;
    runner_ = modules.token_of(reinterpret_cast<const void*>(run));
    check_loaded(f_, modules);
  }

  [[nodiscard]] codec::FunctionToken runner() const noexcept override { return runner_; }

  [[nodiscard]] std::uint32_t item_stride() const noexcept override {
    return detail::item_stride<Arguments>;
  }

  [[nodiscard]] std::optional<std::uint32_t> run_result_size() const noexcept override {
    return detail::run_result_size<Result>;
  }

  [[nodiscard]] bool bundles() const noexcept override {
    return detail::bundles<F, Arguments, typename Source::Received> && !input_may_wait();
  }

  [[nodiscard]] bool input_may_wait() const noexcept override {
    if constexpr (requires { Source::side_by_side; }) {
      return !Source::side_by_side;
    } else {
      return true;
    }
  }

  void encode_call(codec::ContiguousWriter& out) override { encode_callable(out, f_, modules_); }

  [[nodiscard]] Pulled encode(Limit limit, codec::ContiguousWriter& out) override {
    if constexpr (EncodedInBulk<Source>) {
      return encode_in_bulk(limit, out);
    } else {
      return encode_one_by_one(limit, out);
    }
  }

  bool decode(std::size_t index, codec::PayloadReader result) noexcept override {
    try {
      if constexpr (std::is_same_v<Result, std::monostate>) {
        check_end<Result>(result);
        store_->store(index, Result{});
      } else {
        Result value = codec::decode<Result>(result);
        check_end<Result>(result);
        store_->store(index, std::move(value));
      }
      return true;
    } catch (...) {
      store_->fail(index, std::current_exception());
      return false;
    }
  }

  std::unique_ptr<Reception> receive(std::span<const std::byte> first,
                                     std::size_t expected) override {
    if constexpr (codec::received_in_pieces<Result>) {
      using Receiver = codec::BlockReceiver<Result>;
      if (expected < large_result || first.size() < Receiver::header) return nullptr;
      auto reception = std::make_unique<BlockReception<Store>>(
          store_, Receiver(first.template first<Receiver::header>(), expected));
      reception->append(first.subspan(Receiver::header));
      return reception;
    } else {
      return nullptr;
    }
  }

  bool place(std::size_t index, std::size_t count, const std::byte* results) noexcept override {
    if constexpr (requires { store_->place(index, count, results); }) {
      return store_->place(index, count, results);
    } else {
      return false;
    }
  }

  std::size_t decode_run(std::size_t index, codec::PayloadReader results) noexcept override {
    std::size_t undecoded = 0;
    if constexpr (detail::run_result_size<Result>) {
      const std::size_t count = results.remaining() / sizeof(Result);
      if constexpr (Store::yields_items) {
        return store_->put_run(index, count, [&] { return codec::decode<Result>(results); });
      }
      for (const std::size_t end = index + count; index != end; ++index) {
        try {
          store_->put(index, codec::decode<Result>(results));
        } catch (...) {
          store_->put_error(index, std::current_exception());
          ++undecoded;
        }
      }
    }
    return undecoded;
  }

 private:
  /// Bytes. Less than that is put together in memory that the caches hold, which makes room for the
  /// worker sooner than fresh memory would.
  static constexpr std::size_t large_result = std::size_t{8} << 20;

  template <class T>
  static void check_end(const codec::PayloadReader& in) {
    if (in.remaining() == 0) return;
    throw SerializationError("bytes follow the encoded value", codec::type_name<T>());
  }

  LIBPOOL_CATCHES_FORCED_UNWIND Pulled encode_in_bulk(Limit limit, codec::ContiguousWriter& out) {
    std::span<const std::tuple_element_t<0, Arguments>> left;
    try {
      left = source_.contiguous();
    } catch (abi::__forced_unwind&) {
      throw;
    } catch (...) {
      return {0, Pull::input_threw, std::current_exception()};
    }
    const std::size_t most = std::max<std::size_t>(limit.bytes / detail::item_stride<Arguments>, 1);
    const std::size_t items = std::min({limit.items, most, left.size()});
    out.write(static_cast<const void*>(left.data()), left.first(items).size_bytes());
    source_.skip(items);
    return {items, items == left.size() ? Pull::ended : Pull::more};
  }

  LIBPOOL_CATCHES_FORCED_UNWIND Pulled encode_one_by_one(Limit limit,
                                                         codec::ContiguousWriter& out) {
    const std::size_t chunk = out.position();
    std::size_t items = 0;
    std::exception_ptr error = nullptr;
    for (; items < limit.items; ++items) {
      const std::size_t begin = out.position();
      if (begin - chunk >= limit.bytes) break;
      bool failed = false;
      try {
        const bool more = source_.next(
            [&](const auto&... argument) { failed = !try_encode(out, error, argument...); },
            [&](std::exception_ptr thrown) {
              error = std::move(thrown);
              failed = true;
            });
        if (!more) return {items, Pull::ended};
      } catch (abi::__forced_unwind&) {
        throw;
      } catch (...) {
        out.rewind(begin);
        return {items, Pull::input_threw, std::current_exception()};
      }
      if (failed) {
        out.rewind(begin);
        return {items, Pull::item_failed, error};
      }
    }
    return {items, Pull::more};
  }

  /// What the codec or the writer throws must not be taken for what the input throws.
  template <class... A>
  LIBPOOL_CATCHES_FORCED_UNWIND static bool try_encode(codec::ContiguousWriter& out,
                                                       std::exception_ptr& error,
                                                       const A&... arguments) {
    try {
      encode_item<Arguments>(out, arguments...);
      return true;
    } catch (abi::__forced_unwind&) {
      throw;
    } catch (...) {
      error = encoding_error();
      return false;
    }
  }
  /// The exception being handled, as a `SerializationError`.
  static std::exception_ptr encoding_error() {
    try {
      codec::throw_encoding_failed(typeid(Arguments));
    } catch (...) {
      return std::current_exception();
    }
  }

  F f_;
  Source source_;
  const std::shared_ptr<Store> store_;
  const codec::ModuleMap& modules_;
  codec::FunctionToken runner_;
};

// -- what cannot be a process task ---------------------------------------------------------------

/// Refuses, with a message, a type that cannot travel as an argument or a bound value.
template <class A>
consteval void check_argument() {
  static_assert(
      !std::is_pointer_v<A> && !std::is_member_pointer_v<A>,
      "libpool: an argument or a bound value is a raw pointer, which points nowhere in "
      "another process: pass the value itself, or a std::unique_ptr or std::shared_ptr to it.");
  static_assert(
      !is_reference_wrapper<A>,
      "libpool: an argument or a bound value is a std::reference_wrapper, which refers to "
      "nothing in another process: pass the value itself.");
  static_assert(
      codec::OwnSerialize<A> || !codec::Referring<A> || std::is_pointer_v<A> ||
          std::is_member_pointer_v<A> || is_reference_wrapper<A>,
      "libpool: an argument or a bound value is a view, whose elements stay behind in this "
      "process: pass an owner such as std::vector or std::string (if the function's parameter is "
      "a std::span<const T> or std::string_view, a vector or string is not copied for it).");
  static_assert(
      codec::Serializable<A> || (codec::Referring<A> && !codec::OwnSerialize<A>),
      "libpool: an argument or a bound value cannot travel to another process: give its class "
      "a Boost.Serialization `serialize`, or make it trivially copyable, or an aggregate "
      "(without bases, C arrays or bit-fields) of types that can travel.");
}

template <class... A>
consteval void check_arguments(codec::Types<A...>) {
  (check_argument<A>(), ...);
}

template <class P>
struct PartialParts;
template <class F, class... Bound>
struct PartialParts<Partial<F, Bound...>> {
  using Function = F;
  using Values = codec::Types<Bound...>;
};

template <class F>
consteval void check_function() {
  if constexpr (is_partial<F>) {
    check_function<typename PartialParts<F>::Function>();
    check_arguments(typename PartialParts<F>::Values{});
  } else {
    static_assert(!std::is_member_pointer_v<F>,
                  "libpool: ProcessPool takes no pointer to a member: wrap it in a captureless "
                  "lambda, such as "
                  "[](const C& c) { return c.member(); }.");
    static_assert(
        callable_kind<F>() != CallableKind::refused || std::is_member_pointer_v<F>,
        "libpool: ProcessPool cannot send this function to a worker. It may be a function "
        "pointer, a captureless lambda or stateless function object, or one that is trivially "
        "copyable and of standard layout (capture by value: a reference would point into "
        "another process's past). Bind values of other types, such as std::string, with "
        "libpool::partial(f, values...), or give the function object a Boost.Serialization "
        "`serialize`. A std::function cannot travel: pass what it holds.");
  }
}

/// Refuses, with messages that say what to do instead, what a process pool cannot run. What it
/// cannot see: raw pointers inside captures and classes, which point nowhere in a worker.
template <class F, class Source>
constexpr void check_process_task() {
  check_function<F>();
  []<class... A>(std::type_identity<std::tuple<A...>>) {
    check_arguments(codec::Types<A...>{});
  }(std::type_identity<typename Source::Arguments>{});
  using Result = source_result_t<F, Source>;
  static_assert(
      std::is_void_v<Result> || std::is_same_v<Result, NotCallable> || codec::Serializable<Result>,
      "libpool: the function's result cannot travel back to this process: give its class a "
      "Boost.Serialization `serialize`, or make it trivially copyable, or an aggregate (without "
      "bases, C arrays or bit-fields) of types that can travel.");
}

}  // namespace libpool::detail
