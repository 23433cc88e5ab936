/// Decoding whatever bytes as a value of any kind that can travel: it gives a value, which encodes
/// and decodes again, or throws `SerializationError`.
#include <array>
#include <bitset>
#include <chrono>
#include <complex>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

#include <libpool/codec/codec.hpp>
#include <libpool/codec/exception_codec.hpp>
#include <libpool/errors.hpp>
#include <tests/fuzz/input.hpp>

using namespace libpool;

namespace {

enum class Color : std::uint8_t { red, green };

struct Point {
  int x;
  double y;
  bool z;
};

/// An aggregate.
struct Mixed {
  std::string name;
  std::vector<Point> points;
  std::optional<Color> color;
};

/// A tree, as deep as its payload says.
struct Tree {
  int value = 0;
  std::vector<Tree> children;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & value & children;
  }
};

/// A payload on the heap.
class Buffer final : public codec::ContiguousWriter {
 private:
  void make_room(std::size_t wanted) override {
    const std::size_t used = written().size();
    bytes_.resize(2 * (used + wanted));
    begin_ = bytes_.data();
    cursor_ = begin_ + used;
    end_ = begin_ + bytes_.size();
  }
  std::vector<std::byte> bytes_;
};

template <class T>
void decode(codec::PayloadReader in) {
  try {
    const T value = codec::decode<T>(in);
    Buffer again;
    codec::encode(again, value);
    codec::PayloadReader reader(again.written());
    (void)codec::decode<T>(reader);
    fuzz::require(reader.remaining() == 0, "a value takes all that it was encoded to");
  } catch (const SerializationError&) {
  }
}

template <class View>
void decode_view(codec::PayloadReader in) {
  try {
    std::size_t sum = 0;
    for (const auto& element : codec::decode_view<View>(in)) sum += element != 0 ? 1 : 0;
    fuzz::require(sum <= in.remaining() + SIZE_MAX / 2, "a view is readable");
  } catch (const SerializationError&) {
  }
}

void decode_error(codec::PayloadReader in) {
  fuzz::require(codec::decode_exception(in, 1, 2) != nullptr, "any bytes give an exception");
}

using Decode = void (*)(codec::PayloadReader);

constexpr std::array<Decode, 36> decoders{
    decode<bool>,
    decode<int>,
    decode<long double>,
    decode<Color>,
    decode<Point>,
    decode<Mixed>,
    decode<Tree>,
    decode<std::string>,
    decode<std::u16string>,
    decode<std::vector<int>>,
    decode<std::vector<bool>>,
    decode<std::vector<std::string>>,
    decode<std::vector<std::vector<Color>>>,
    decode<std::deque<double>>,
    decode<std::list<std::string>>,
    decode<std::forward_list<int>>,
    decode<std::set<int>>,
    decode<std::multiset<std::string>>,
    decode<std::map<int, std::string>>,
    decode<std::multimap<std::string, int>>,
    decode<std::unordered_set<std::string>>,
    decode<std::unordered_map<int, std::vector<int>>>,
    decode<std::array<std::string, 3>>,
    decode<std::pair<int, std::string>>,
    decode<std::tuple<int, std::string, double>>,
    decode<std::optional<std::string>>,
    decode<std::variant<int, std::string, std::vector<int>>>,
    decode<std::unique_ptr<std::string>>,
    decode<std::shared_ptr<std::vector<int>>>,
    decode<std::complex<double>>,
    decode<std::bitset<70>>,
    decode<std::chrono::nanoseconds>,
    decode<std::filesystem::path>,
    decode_view<std::span<const double>>,
    decode_view<std::string_view>,
    decode_error,
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const Decode decoder = decoders[input.below(decoders.size())];
  // Payloads begin at a multiple of 16; memory of just their size shows every step beyond it.
  const auto bytes = std::as_bytes(input.rest());
  const std::vector<std::byte> payload(bytes.begin(), bytes.end());
  decoder(codec::PayloadReader(payload));
  return 0;
}
