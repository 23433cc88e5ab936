/// A worker's lane over a plain buffer: both sides of a result ring in one process, and ways to
/// forge what only a worker gone wild would write.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <libpool/ring/result_ring.hpp>

namespace libpool::testing {

/// Bytes that differ from place to place and from seed to seed.
inline std::vector<std::byte> pattern(std::size_t size, std::uint64_t seed) {
  std::vector<std::byte> bytes(size);
  std::uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (std::byte& byte : bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<std::byte>(state >> 56);
  }
  return bytes;
}

/// The buffer has exactly the ring's size, so that a sanitizer sees every step beyond it.
class Lane {
 public:
  explicit Lane(std::size_t ring_size = 4096)
      : bytes_(std::make_unique<std::byte[]>(ring_size)), ring_{bytes_.get(), ring_size} {}

  [[nodiscard]] ring::ResultWriter make_writer() {
    return {header, ring_, ring::Doorbell(waiting, -1)};
  }
  [[nodiscard]] ring::ResultReader make_reader(ring::ResultReader::Reserve reserve = nullptr) {
    return {header, ring_, std::move(reserve)};
  }
  [[nodiscard]] std::span<std::byte> ring() const { return ring_; }

  /// Writes one record as a worker does.
  void put(ring::ResultWriter& writer, ring::RecordKind kind, std::uint64_t ticket,
           std::uint32_t slot, std::uint32_t item, std::span<const std::byte> bytes) {
    writer.begin(kind, ticket, slot, item);
    writer.write(bytes.data(), bytes.size());
    writer.publish();
  }

  /// The same in the place where `position` bytes have been published, without any check.
  void forge(std::uint64_t position, ring::RecordHeader record, const std::string& text = {}) {
    record.mark = ring::record_mark(position);
    std::memcpy(ring_.data() + position % ring_.size(), &record, sizeof record);
    std::memcpy(ring_.data() + position % ring_.size() + sizeof record, text.data(), text.size());
    const std::uint64_t padded = (text.size() + 31) / 32 * 32;
    header.tail = position + sizeof record + padded;
  }

  ring::LaneHeader header{};
  ring::WaitingWord waiting{};

 private:
  std::unique_ptr<std::byte[]> bytes_;
  std::span<std::byte> ring_;
};

/// Outcomes as a reader puts them together.
struct Outcome {
  ring::RecordHeader header{};
  std::vector<std::byte> bytes;
  std::size_t fragments = 0;
};

/// Takes one whole outcome if it is published; throws if the ring is corrupt.
inline std::optional<Outcome> take(ring::ResultReader& reader, Outcome& partial) {
  using Look = ring::ResultReader::Look;
  if (!reader.refresh()) throw std::runtime_error("impossible tail");
  std::optional<Outcome> whole;
  std::span<const std::byte> payload;
  while (!whole) {
    ring::RecordHeader header{};
    const Look look = reader.look(header, payload);
    if (look == Look::empty) break;
    if (look == Look::corrupt) throw std::runtime_error("corrupt record");
    if (partial.fragments != 0 && header.kind != partial.header.kind) partial = {};
    partial.header = header;
    partial.bytes.insert(partial.bytes.end(), payload.begin(), payload.end());
    ++partial.fragments;
    if (header.last == 1) whole = std::exchange(partial, {});
    reader.pass(header);
  }
  reader.give_back();
  return whole;
}

}  // namespace libpool::testing
