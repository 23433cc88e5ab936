/// Facts about vectors and strings that come in pieces.
#include <libpool/codec/block_receiver.hpp>

#include <doctest/doctest.h>

#include <tests/support/payload_buffer.hpp>

using namespace libpool;
using codec::BlockReceiver;
using testing::encoded;

namespace {

struct Triple {
  int a, b, c;
};
static_assert(codec::received_in_pieces<std::vector<int>>);
static_assert(codec::received_in_pieces<std::string>);
static_assert(codec::received_in_pieces<std::vector<long double>>);
static_assert(!codec::received_in_pieces<std::vector<bool>>);
static_assert(!codec::received_in_pieces<std::vector<Triple>>);
static_assert(!codec::received_in_pieces<std::vector<std::array<bool, 4>>>);
static_assert(!codec::received_in_pieces<std::vector<std::string>>);
static_assert(!codec::received_in_pieces<int>);

/// The value in pieces of so many bytes.
template <class T>
BlockReceiver<T> receive(std::span<const std::byte> bytes, std::size_t piece,
                         std::size_t expected) {
  constexpr std::size_t header = BlockReceiver<T>::header;
  BlockReceiver<T> receiver(bytes.first<header>(), expected);
  receiver.append(bytes.subspan(header, std::min(piece, bytes.size()) - header));
  for (std::size_t at = piece; at < bytes.size(); at += piece) {
    receiver.append(bytes.subspan(at, std::min(piece, bytes.size() - at)));
  }
  return receiver;
}

template <class T>
void check_all_pieces(const T& value) {
  const auto bytes = encoded(value);
  for (const std::size_t piece : {16U, 32U, 48U, 4096U, 1U << 20}) {
    for (const std::size_t expected : {std::size_t{0}, bytes.size() / 2, bytes.size()}) {
      auto receiver = receive<T>(bytes, piece, expected);
      CHECK(receiver.size() == value.size() * sizeof(value[0]));
      REQUIRE(receiver.whole());
      CHECK(receiver.take() == value);
    }
  }
}

}  // namespace

TEST_CASE("a vector or a string comes back from pieces of any size, whatever was expected") {
  for (const std::size_t size : {0U, 1U, 7U, 1000U, 100'001U}) {
    std::vector<std::int64_t> numbers(size);
    for (std::size_t i = 0; i < size; ++i) numbers[i] = static_cast<std::int64_t>(i * i);
    check_all_pieces(numbers);
    check_all_pieces(std::string(size, 'x'));
    check_all_pieces(std::vector<long double>(size, 1.5L));
    check_all_pieces(std::u32string(size, U'y'));
  }
}

TEST_CASE("bytes that do not match the count are no value") {
  const auto bytes = encoded(std::vector<int>(100, 7));
  const auto less = std::span(bytes).first(bytes.size() - sizeof(int));
  CHECK_FALSE(receive<std::vector<int>>(less, 48, 400).whole());
  auto more = bytes;
  more.resize(bytes.size() + sizeof(int));
  CHECK_FALSE(receive<std::vector<int>>(more, 48, 400).whole());
  more.resize(bytes.size() + 1);
  CHECK_FALSE(receive<std::vector<int>>(more, 48, 400).whole());
  // Once wrong, always wrong.
  auto receiver = receive<std::vector<int>>(less, 48, 400);
  receiver.append(std::span(bytes).first(3));
  receiver.append(std::span(bytes).last(sizeof(int)));
  CHECK_FALSE(receiver.whole());
}

TEST_CASE("a count reserves no more than is believed") {
  std::vector<std::byte> lie(64);
  const std::uint64_t count = UINT64_MAX / 8;
  std::memcpy(lie.data(), &count, sizeof count);
  auto receiver = receive<std::vector<std::int64_t>>(lie, 16, 1024);
  CHECK_FALSE(receiver.whole());
  CHECK(receiver.take().capacity() <= 1024 / sizeof(std::int64_t));
}
