/// Payload bytes: the cursor that encoders write through and the bounded view that decoders read.
///
/// Runs in the parent (arguments out, results in) and in a worker (arguments in, results out).
/// A death here leaves bytes that nobody has been told of: a payload exists for the other side only
/// once it is published.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>

#include <libpool/detail/export.hpp>

namespace libpool::codec {

/// Where encoders put bytes. The memory behind it may be a shared arena, a result ring or a heap
/// buffer; `make_room` supplies more of it. Positions count from the start of the payload.
/// Not thread-safe.
class LIBPOOL_EXPORT PayloadWriter {
 public:
  PayloadWriter(const PayloadWriter&) = delete;
  PayloadWriter& operator=(const PayloadWriter&) = delete;
  virtual ~PayloadWriter() = default;

  /// Appends `bytes` bytes. Throws what `make_room` throws (`std::bad_alloc`,
  /// `SerializationError`).
  void write(const void* data, std::size_t bytes) {
    if (bytes <= static_cast<std::size_t>(end_ - cursor_)) [[likely]] {
      if (bytes != 0) std::memcpy(cursor_, data, bytes);
      cursor_ += bytes;
      return;
    }
    write_slowly(static_cast<const std::byte*>(data), bytes);
  }

  /// Appends zero bytes until the position is a multiple of `alignment` (a power of two, at most
  /// 64).
  void align(std::size_t alignment) {
    static constexpr std::byte zeros[64]{};
    write(zeros, (0 - position()) & (alignment - 1));
  }

  /// Bytes written so far.
  [[nodiscard]] std::size_t position() const noexcept {
    return flushed_ + static_cast<std::size_t>(cursor_ - begin_);
  }

 protected:
  PayloadWriter() = default;

  /// Makes at least one byte of room at `cursor_`, better `wanted`; may move or flush what is
  /// there.
  virtual void make_room(std::size_t wanted) = 0;

  std::byte* begin_ = nullptr;   ///< start of the current piece of memory
  std::byte* cursor_ = nullptr;  ///< where the next byte goes
  std::byte* end_ = nullptr;     ///< end of the current piece
  std::size_t flushed_ = 0;      ///< bytes of the payload before `begin_`

 private:
  void write_slowly(const std::byte* data, std::size_t bytes) {
    while (bytes != 0) {
      if (cursor_ == end_) make_room(bytes);
      const std::size_t room = static_cast<std::size_t>(end_ - cursor_);
      const std::size_t part = bytes < room ? bytes : room;
      std::memcpy(cursor_, data, part);
      cursor_ += part;
      data += part;
      bytes -= part;
    }
  }
};

/// A writer whose whole payload lies in one piece, which grows by moving. What has been
/// written can be patched and taken back, so that a failed item leaves no trace.
class LIBPOOL_EXPORT ContiguousWriter : public PayloadWriter {
 public:
  /// Takes back everything after `position`.
  void rewind(std::size_t position) noexcept { cursor_ = begin_ + position; }

  /// Overwrites eight bytes at `position`, which must have been written.
  void patch(std::size_t position, std::uint64_t value) noexcept {
    std::memcpy(begin_ + position, &value, sizeof value);
  }

  [[nodiscard]] std::span<const std::byte> written() const noexcept {
    return {begin_, static_cast<std::size_t>(cursor_ - begin_)};
  }
};

/// Thrown by `PayloadReader` past its end; the codec turns it into a `SerializationError` that
/// names the type.
class LIBPOOL_EXPORT PayloadUnderrun : public std::runtime_error {
 public:
  PayloadUnderrun() : std::runtime_error("the payload ends before the value does") {}
};

/// Memory of a payload that a decoded value can keep, and so need not copy.
class PayloadHolder {
 public:
  PayloadHolder() = default;
  PayloadHolder(const PayloadHolder&) = delete;
  PayloadHolder& operator=(const PayloadHolder&) = delete;

  /// The payload's bytes stay where they are while this lives. Null if so few `bytes` of them are
  /// not worth it. Throws `std::bad_alloc`.
  [[nodiscard]] virtual std::shared_ptr<const void> hold(std::size_t bytes) = 0;

 protected:
  ~PayloadHolder() = default;
};

/// A bounded view of encoded bytes. Every byte is read at most once, so that a value checked is the
/// value used, even in memory that another process can change. Not thread-safe.
class PayloadReader {
 public:
  PayloadReader() = default;

  /// Reads `bytes`; alignment counts from `origin`, the start of the payload that they are part of.
  /// With a holder, values may keep the memory, which nobody else writes.
  explicit PayloadReader(std::span<const std::byte> bytes, const std::byte* origin = nullptr,
                         PayloadHolder* holder = nullptr) noexcept
      : origin_(origin != nullptr ? origin : bytes.data()),
        cursor_(bytes.data()),
        end_(bytes.data() + bytes.size()),
        holder_(holder) {}

  /// Copies the next `bytes` bytes out. Throws `PayloadUnderrun`.
  void read(void* out, std::size_t bytes) {
    const std::byte* from = take(bytes).data();
    if (bytes != 0) std::memcpy(out, from, bytes);
  }

  /// The next `bytes` bytes where they lie. Throws `PayloadUnderrun`.
  std::span<const std::byte> take(std::size_t bytes) {
    if (bytes > remaining()) throw PayloadUnderrun();
    const std::byte* from = cursor_;
    cursor_ += bytes;
    return {from, bytes};
  }

  /// Skips to a multiple of `alignment` (a power of two) from the origin.
  void align(std::size_t alignment) {
    take((0 - static_cast<std::size_t>(cursor_ - origin_)) & (alignment - 1));
  }

  [[nodiscard]] std::size_t remaining() const noexcept {
    return static_cast<std::size_t>(end_ - cursor_);
  }
  [[nodiscard]] const std::byte* origin() const noexcept { return origin_; }
  /// Null where nothing can be kept.
  [[nodiscard]] PayloadHolder* holder() const noexcept { return holder_; }

 private:
  const std::byte* origin_ = nullptr;
  const std::byte* cursor_ = nullptr;
  const std::byte* end_ = nullptr;
  PayloadHolder* holder_ = nullptr;
};

}  // namespace libpool::codec
