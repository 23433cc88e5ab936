/// The typed half of a process batch: how its items become payload bytes and result bytes become
/// outcomes.
///
/// Runs in the parent: `encode` on the batch's feeding thread, `decode` on the thread that drives
/// the pool, neither under a lock of the core. Neighbours: the feeder before it, the collector
/// after it. A worker's death never interrupts either.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>

#include <libpool/codec/function_token.hpp>
#include <libpool/codec/payload.hpp>

namespace libpool::detail {

/// A large result on its way, which comes in pieces straight to where it will stay.
class Reception {
 public:
  Reception() = default;
  Reception(const Reception&) = delete;
  Reception& operator=(const Reception&) = delete;
  virtual ~Reception() = default;

  /// The next piece. Throws `std::bad_alloc`.
  virtual void append(std::span<const std::byte> bytes) = 0;
  /// Bytes that are here.
  [[nodiscard]] virtual std::size_t size() const noexcept = 0;
  /// That was all: stores the outcome of item `index`. Returns false if it is a
  /// `SerializationError`. Never throws.
  virtual bool complete(std::size_t index) noexcept = 0;
};

/// Payload of a chunk: the callable with its bound values (`encode_call`), aligned to 16, then the
/// items: if `item_stride` is not zero, each in that many bytes, else each as a 64-bit length and
/// its bytes, padded to 8 (the length counts no padding).
class ChunkCodec {
 public:
  enum class Pull : std::uint8_t {
    more,         ///< `items` were encoded; the input may have more
    ended,        ///< `items` were encoded, then the input ended
    input_threw,  ///< `items` were encoded, then the input threw `error`
    item_failed,  ///< `items` were encoded; the next was pulled and cannot be encoded, for `error`
  };
  struct Pulled {
    std::size_t items = 0;
    Pull what = Pull::more;
    std::exception_ptr error = nullptr;
  };

  ChunkCodec() = default;
  ChunkCodec(const ChunkCodec&) = delete;
  ChunkCodec& operator=(const ChunkCodec&) = delete;
  virtual ~ChunkCodec() = default;

  /// The function that a worker calls with a `ChunkContext` to run a chunk of this batch.
  [[nodiscard]] virtual codec::FunctionToken runner() const noexcept = 0;

  /// Bytes of each encoded item where all take the same, else zero.
  [[nodiscard]] virtual std::uint32_t item_stride() const noexcept = 0;

  /// Bytes of each result where runs may hold them (`ring::RecordKind::run`), else nothing.
  [[nodiscard]] virtual std::optional<std::uint32_t> run_result_size() const noexcept {
    return std::nullopt;
  }

  /// Whether chunks of one item may travel together as a bundle.
  [[nodiscard]] virtual bool bundles() const noexcept { return false; }

  /// Whether a step of the input can take long or depend on results: anything but memory.
  [[nodiscard]] virtual bool input_may_wait() const noexcept { return true; }

  /// Encodes the callable. What it throws (as `SerializationError`) becomes the outcome of the
  /// chunk's items.
  virtual void encode_call(codec::ContiguousWriter& out) = 0;

  /// Where a chunk ends at the latest.
  struct Limit {
    std::size_t items;
    std::size_t bytes;  ///< the item by which it has so many is the last
  };

  /// Pulls items up to the limit, one at least, and encodes each. A failing item leaves no bytes.
  /// Throws only `std::bad_alloc` of the writer's memory, after which the items pulled in this call
  /// are lost.
  [[nodiscard]] virtual Pulled encode(Limit limit, codec::ContiguousWriter& out) = 0;

  /// Decodes a result and stores it as the outcome of item `index`. Returns false if it stored a
  /// `SerializationError` instead. Never throws.
  virtual bool decode(std::size_t index, codec::PayloadReader result) noexcept = 0;

  /// Begins to receive a result of about `expected` bytes, whose first piece this is; null if its
  /// bytes have to be put together before it is decoded. Calls nothing: may be called under a lock
  /// of the core. Throws `std::bad_alloc`.
  [[nodiscard]] virtual std::unique_ptr<Reception> receive(std::span<const std::byte> /*first*/,
                                                           std::size_t /*expected*/) {
    return nullptr;
  }

  /// Copies `count` results of a run straight to where the caller will find them, not yet counted
  /// as settled; false if they have to be decoded. Calls nothing: may be called under a lock of the
  /// core.
  virtual bool place(std::size_t /*index*/, std::size_t /*count*/,
                     const std::byte* /*results*/) noexcept {
    return false;
  }

  /// Decodes the results of a run and stores them as the outcomes of the items from `index` on, not
  /// yet counted as settled. Returns how many `SerializationError`s it stored instead. Never
  /// throws.
  virtual std::size_t decode_run(std::size_t /*index*/, codec::PayloadReader /*results*/) noexcept {
    return 0;
  }
};

}  // namespace libpool::detail
