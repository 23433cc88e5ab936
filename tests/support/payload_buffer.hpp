/// Payloads in the test's own memory: a writer that grows on the heap, and round trips through it.
///
/// Runs in the test's own process. Decodes from memory of exactly the payload's size, so that a
/// sanitizer sees every read beyond it.
#pragma once

#include <doctest/doctest.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include <libpool/codec/codec.hpp>
#include <libpool/codec/payload.hpp>
#include <libpool/errors.hpp>

namespace libpool::testing {

using Bytes = std::vector<std::byte>;

/// A payload on the heap.
class PayloadBuffer final : public codec::ContiguousWriter {
 public:
  [[nodiscard]] Bytes bytes() const { return {written().begin(), written().end()}; }

 private:
  void make_room(std::size_t wanted) override {
    const auto used = static_cast<std::size_t>(cursor_ - begin_);
    memory_.resize(2 * used + wanted);
    begin_ = memory_.data();
    cursor_ = begin_ + used;
    end_ = begin_ + memory_.size();
  }
  Bytes memory_;
};

template <class T>
[[nodiscard]] Bytes encoded(const T& value) {
  PayloadBuffer out;
  codec::encode(out, value);
  return out.bytes();
}

/// Decodes a whole payload.
template <class T>
[[nodiscard]] T decoded(std::span<const std::byte> bytes) {
  // operator new[] aligns to 16, and a sanitizer knows where this array ends.
  const auto exact = std::make_unique<std::byte[]>(bytes.size());
  if (!bytes.empty()) std::memcpy(exact.get(), bytes.data(), bytes.size());
  codec::PayloadReader in({exact.get(), bytes.size()});
  T value = codec::decode<T>(in);
  REQUIRE(in.remaining() == 0);
  return value;
}

template <class T>
[[nodiscard]] T round_trip(const T& value) {
  return decoded<T>(encoded(value));
}

/// Every payload that lacks bytes at its end is refused.
template <class T>
void check_truncations_refused(const Bytes& bytes) {
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto exact = std::make_unique<std::byte[]>(size);
    std::memcpy(exact.get(), bytes.data(), size);
    codec::PayloadReader in({exact.get(), size});
    CHECK_THROWS_AS((void)codec::decode<T>(in), SerializationError);
  }
}

/// Payloads with one byte changed decode or are refused: anything but a crash, which a sanitizer
/// sees.
template <class T>
void decode_damaged(Bytes bytes) {
  for (std::byte& byte : bytes) {
    for (const std::byte forged :
         {std::byte{0xff}, std::byte{0x01}, std::byte{0x00}, byte ^ std::byte{0x80}}) {
      const std::byte kept = std::exchange(byte, forged);
      codec::PayloadReader in(bytes);
      try {
        (void)codec::decode<T>(in);
      } catch (const SerializationError&) {
      }
      byte = kept;
    }
  }
}

}  // namespace libpool::testing
