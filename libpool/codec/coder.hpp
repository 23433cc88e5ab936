/// What one encode or decode of a value keeps: the payload, the depth, the objects met so far.
///
/// Runs in both processes. `encode` and `decode` (`codec.hpp`) make one for each value; the
/// adapters of the standard types and the archives work through it. A death here leaves an
/// unpublished payload.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <typeindex>
#include <typeinfo>
#include <utility>
#include <vector>

#include <libpool/codec/archive.hpp>
#include <libpool/codec/payload.hpp>
#include <libpool/detail/export.hpp>

namespace libpool::codec {

/// The payload is not what an encoder wrote; becomes a `SerializationError` that names the type.
class LIBPOOL_EXPORT CorruptPayload : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Values nest at most this deep (a list of n nodes that own each other nests n deep, as a few
/// calls each): so that neither a long list nor a forged payload overflows a stack of the usual 8
/// MiB, sanitizers included. Encoding refuses what decoding would.
inline constexpr std::size_t max_depth = 1000;

/// Counts the levels of a value; one lives on the stack for each level.
class Depth {
 public:
  /// Throws `std::length_error` past `max_depth`.
  explicit Depth(std::size_t& depth) : depth_(depth) {
    if (depth_ == max_depth) {
      throw std::length_error("the value nests deeper than 1000 levels");
    }
    ++depth_;
  }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;
  ~Depth() { --depth_; }

 private:
  std::size_t& depth_;
};

/// The state of one encode. Not thread-safe.
class Encoder {
 public:
  explicit Encoder(PayloadWriter& writer) noexcept : out(writer) {}

  PayloadWriter& out;

  template <class T>
  void put(T value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    out.write(&value, sizeof value);
  }
  void put_count(std::size_t count) { put(std::uint64_t{count}); }

  [[nodiscard]] Depth deeper() { return Depth(depth_); }

  /// The archive that a user's `serialize` gets; made when first needed.
  [[nodiscard]] OutputArchive& archive() {
    if (!archive_) archive_.emplace(*this);
    return *archive_;
  }

  /// For objects that `shared_ptr`s share and that have no `serialize`: true if this one is met for
  /// the first time, and its id.
  [[nodiscard]] std::pair<bool, std::uint64_t> share(const void* object,
                                                     const std::type_info& type) {
    const auto [place, fresh] =
        shared_.try_emplace({object, std::type_index(type)}, shared_.size());
    return {fresh, place->second};
  }

 private:
  std::size_t depth_ = 0;
  std::optional<OutputArchive> archive_;
  std::map<std::pair<const void*, std::type_index>, std::uint64_t> shared_;
};

/// The state of one decode. Not thread-safe.
class Decoder {
 public:
  explicit Decoder(PayloadReader& reader) noexcept : in(reader) {}

  PayloadReader& in;

  template <class T>
  [[nodiscard]] T take() {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    T value;
    in.read(&value, sizeof value);
    return value;
  }

  /// The count of elements that lie in one block of `stride` bytes each. Throws `CorruptPayload` if
  /// the payload is too short for them.
  [[nodiscard]] std::size_t take_block_count(std::size_t stride) {
    const std::uint64_t count = take<std::uint64_t>();
    if (count > in.remaining() / stride) throw CorruptPayload("a count exceeds the payload");
    return static_cast<std::size_t>(count);
  }

  /// The count of elements that take at least `least` bytes each. The caller calls `begin_element`
  /// with the same `least` before it decodes each of them. Bytes that are owed to elements of open
  /// containers justify no other container, so that all memory that is reserved for counts stays in
  /// proportion to the payload, however containers nest.
  [[nodiscard]] std::size_t take_count(std::size_t least) {
    const std::uint64_t count = take<std::uint64_t>();
    const std::size_t free = in.remaining() > owed_ ? in.remaining() - owed_ : 0;
    if (count > free / least) throw CorruptPayload("a count exceeds the payload");
    owed_ += static_cast<std::size_t>(count) * least;
    return static_cast<std::size_t>(count);
  }
  void begin_element(std::size_t least) noexcept { owed_ -= least; }

  [[nodiscard]] Depth deeper() { return Depth(depth_); }

  /// The archive that a user's `serialize` gets; made when first needed.
  [[nodiscard]] InputArchive& archive() {
    if (!archive_) archive_.emplace(*this);
    return *archive_;
  }

  /// A value was moved after it had been decoded: tracked objects in it are elsewhere now.
  void moved(const void* to, const void* from) {
    if (archive_) archive_->reset_object_address(to, from);
  }

  /// Begins an object that `shared_ptr`s share and that has no `serialize`: its id.
  [[nodiscard]] std::size_t begin_shared(const std::type_info& type) {
    shared_.push_back({nullptr, &type});
    return shared_.size() - 1;
  }
  void set_shared(std::size_t id, std::shared_ptr<void> object) {
    shared_[id].object = std::move(object);
  }
  /// Throws `CorruptPayload` if there is no object of this type under the id.
  [[nodiscard]] const std::shared_ptr<void>& shared(std::uint64_t id, const std::type_info& type) {
    if (id >= shared_.size() || *shared_[id].type != type || shared_[id].object == nullptr) {
      throw CorruptPayload("a reference leads to no object of its type");
    }
    return shared_[id].object;
  }

 private:
  struct Shared {
    std::shared_ptr<void> object;
    const std::type_info* type;
  };
  std::size_t depth_ = 0;
  std::size_t owed_ = 0;  ///< bytes that elements of open containers take at least
  std::vector<Shared> shared_;
  std::optional<InputArchive> archive_;
};

}  // namespace libpool::codec
