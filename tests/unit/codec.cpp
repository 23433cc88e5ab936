/// Facts about values that travel: random values of every supported type come back, and no
/// truncated payload is taken for one.
#include <libpool/codec/codec.hpp>

#include <doctest/doctest.h>

#include <deque>
#include <forward_list>
#include <list>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <libpool/codec/type_name.hpp>
#include <tests/support/payload_buffer.hpp>
#include <tests/support/random_value.hpp>

using namespace libpool::testing;
namespace codec = libpool::codec;

namespace {

enum class Colour : std::uint8_t { red, green };
enum Plain : unsigned { one, two };

/// Trivially copyable: bits.
struct Point {
  std::int16_t x;
  double y;
  static Point random(Random& random) {
    return {random.make<std::int16_t>(), random.make<double>()};
  }
  bool operator==(const Point&) const = default;
};

/// Trivially copyable, without a default constructor.
struct Fixed {
  explicit Fixed(int given) : value(given) {}
  int value;
  static Fixed random(Random& random) { return Fixed(random.make<int>()); }
  bool operator==(const Fixed&) const = default;
};

/// An aggregate: taken apart.
struct Person {
  std::string name;
  std::optional<int> age;
  std::vector<Point> path;
  static Person random(Random& random) {
    return {random.make<std::string>(), random.make<std::optional<int>>(),
            random.make<std::vector<Point>>()};
  }
  bool operator==(const Person&) const = default;
};

/// An aggregate that cannot be made empty.
struct Held {
  std::string name;
  Fixed value;
  static Held random(Random& random) { return {random.make<std::string>(), Fixed::random(random)}; }
  bool operator==(const Held&) const = default;
};

/// Aggregates with arrays of objects.
struct Grid {
  std::array<std::string, 3> names;
  bool flag;
  std::array<std::optional<int>, 2> numbers;
  static Grid random(Random& random) {
    return {random.make<std::array<std::string, 3>>(), random.make<bool>(),
            random.make<std::array<std::optional<int>, 2>>()};
  }
  bool operator==(const Grid&) const = default;
};
struct MoveOnly {
  std::array<std::unique_ptr<int>, 2> owners;
  std::string name;
};

/// A recursive aggregate.
struct Tree {
  int value = 0;
  std::vector<Tree> children;
  static Tree random(Random& random) {
    Tree tree{random.make<int>(), {}};
    while (random.below(3) == 0) tree.children.push_back(Tree::random(random));
    return tree;
  }
  bool operator==(const Tree&) const = default;
};

template <class T>
bool same(const T& a, const T& b) {
  return a == b;
}
template <class T>
bool same(const std::unique_ptr<T>& a, const std::unique_ptr<T>& b) {
  return a == nullptr ? b == nullptr : b != nullptr && *a == *b;
}
template <class T>
bool same(const std::shared_ptr<T>& a, const std::shared_ptr<T>& b) {
  return a == nullptr ? b == nullptr : b != nullptr && *a == *b;
}

}  // namespace

TEST_CASE_TEMPLATE_DEFINE("random values come back, and cut or damaged payloads do not crash", T,
                          any_type) {
  static_assert(codec::Serializable<T>);
  Random random;
  for (int i = 0; i < 40; ++i) {
    const T value = random.make<T>();
    const Bytes bytes = encoded(value);
    CHECK(same(decoded<T>(bytes), value));
    CHECK(bytes.size() >= codec::least_bytes<T>());
    if (bytes.size() > 400) continue;  // the next take the square of it
    check_truncations_refused<T>(bytes);
    decode_damaged<T>(bytes);
  }
}

TEST_CASE_TEMPLATE_INVOKE(any_type, bool, char, signed char, char16_t, wchar_t, short, unsigned,
                          long, std::int64_t, std::uint64_t, float, double, long double, std::byte,
                          Colour, Plain);
TEST_CASE_TEMPLATE_INVOKE(any_type, std::string, std::wstring, std::u16string,
                          std::vector<std::byte>, std::vector<bool>, std::vector<double>,
                          std::vector<std::string>, std::vector<std::vector<bool>>,
                          std::vector<Fixed>, std::vector<Point>, std::vector<Held>);
TEST_CASE_TEMPLATE_INVOKE(any_type, std::deque<int>, std::deque<std::string>, std::list<bool>,
                          std::list<std::string>, std::list<Held>, std::forward_list<int>,
                          std::forward_list<std::string>, std::forward_list<Fixed>,
                          std::array<int, 3>, std::array<std::string, 3>, std::array<bool, 5>,
                          std::array<Held, 2>);
TEST_CASE_TEMPLATE_INVOKE(any_type, std::set<int>, std::set<std::string>, std::multiset<int>,
                          std::unordered_set<std::string>, std::unordered_multiset<char>,
                          std::map<int, std::string>, std::map<std::string, Held>,
                          std::multimap<char, int>, std::unordered_map<std::string, double>,
                          std::unordered_multimap<int, std::vector<int>>);
TEST_CASE_TEMPLATE_INVOKE(any_type, std::pair<int, std::string>, std::pair<Fixed, Held>,
                          std::tuple<>, std::tuple<int, std::string, bool>,
                          std::tuple<Fixed, std::string>, std::optional<int>,
                          std::optional<std::string>, std::optional<Held>,
                          std::variant<std::monostate, int, std::string>, std::variant<Fixed, Held>,
                          std::variant<bool, int>);
TEST_CASE_TEMPLATE_INVOKE(any_type, std::unique_ptr<int>, std::unique_ptr<std::string>,
                          std::unique_ptr<Held>, std::shared_ptr<int>, std::shared_ptr<Person>,
                          std::shared_ptr<Held>);
TEST_CASE_TEMPLATE_INVOKE(any_type, std::chrono::nanoseconds, std::chrono::duration<double>,
                          std::chrono::system_clock::time_point, std::complex<float>,
                          std::bitset<7>, std::bitset<100>, std::filesystem::path, std::monostate);
TEST_CASE_TEMPLATE_INVOKE(any_type, Point, Fixed, Person, Held, Grid, Tree, std::vector<Person>,
                          std::vector<std::map<std::string, std::optional<Person>>>,
                          std::map<std::pair<int, int>, std::variant<Person, std::vector<Tree>>>);

TEST_CASE("move-only values come back") {
  std::vector<std::unique_ptr<std::string>> owners;
  owners.push_back(std::make_unique<std::string>("a"));
  owners.push_back(nullptr);
  std::map<int, std::unique_ptr<Person>> people;
  people.emplace(1, std::make_unique<Person>(Person{.name = "b", .age = 3, .path = {}}));
  const auto back = decoded<decltype(owners)>(encoded(owners));
  CHECK(*back[0] == "a");
  CHECK(back[1] == nullptr);
  CHECK(decoded<decltype(people)>(encoded(people)).at(1)->name == "b");
  const MoveOnly both{.owners = {std::make_unique<int>(1), nullptr}, .name = "c"};
  const auto moved = decoded<MoveOnly>(encoded(both));
  CHECK(*moved.owners[0] == 1);
  CHECK(moved.owners[1] == nullptr);
}

TEST_CASE("objects that are shared within one value are shared again") {
  const auto text = std::make_shared<std::string>("shared");
  const std::vector<std::shared_ptr<std::string>> all{text, nullptr, text,
                                                      std::make_shared<std::string>("shared")};
  const auto back = round_trip(all);
  CHECK(back[0] == back[2]);
  CHECK(back[0] != back[3]);
  CHECK(*back[3] == "shared");
  CHECK(back[0].use_count() == 2);
}

namespace {
struct Ring {
  int value = 0;
  std::shared_ptr<Ring> next;
  std::weak_ptr<Ring> previous;
};
}  // namespace

TEST_CASE("a cycle of shared aggregates closes again") {
  const auto a = std::make_shared<Ring>();
  const auto b = std::make_shared<Ring>(Ring{.value = 1, .next = a, .previous = a});
  a->next = b;
  const auto back = round_trip(a);
  CHECK(back->next->next == back);
  CHECK(back->next->previous.lock() == back);
  a->next = nullptr;
  back->next->next = nullptr;
}

TEST_CASE("values follow one another in a payload") {
  PayloadBuffer out;
  codec::encode(out, std::uint8_t{1});
  codec::encode(out, std::vector<double>{1, 2, 3});
  codec::encode(out, std::string("text"));
  codec::encode(out, std::vector<long double>{4});
  const Bytes bytes = out.bytes();
  codec::PayloadReader in(bytes);
  CHECK(codec::decode<std::uint8_t>(in) == 1);
  CHECK(codec::decode<std::vector<double>>(in) == std::vector<double>{1, 2, 3});
  CHECK(codec::decode<std::string>(in) == "text");
  CHECK(codec::decode<std::vector<long double>>(in) == std::vector<long double>{4});
  CHECK(in.remaining() == 0);
}

TEST_CASE("vectors of bits and strings can be viewed where they lie") {
  PayloadBuffer out;
  codec::encode(out, std::uint8_t{1});
  codec::encode(out, std::vector<double>{1, 2, 3});
  codec::encode(out, std::string("text"));
  codec::encode(out, std::vector<Point>{{1, 2}});
  codec::encode(out, std::vector<int>{});
  const auto bytes = out.written();
  codec::PayloadReader in(bytes);
  CHECK(codec::decode<std::uint8_t>(in) == 1);
  const auto numbers = codec::decode_view<std::span<const double>>(in);
  CHECK(numbers.size() == 3);
  CHECK(numbers[2] == 3);
  CHECK(reinterpret_cast<const std::byte*>(numbers.data()) > bytes.data());
  CHECK(reinterpret_cast<const std::byte*>(numbers.data()) < bytes.data() + bytes.size());
  CHECK(codec::decode_view<std::string_view>(in) == "text");
  CHECK(codec::decode_view<std::span<const Point>>(in)[0] == Point{1, 2});
  CHECK(codec::decode_view<std::span<const int>>(in).empty());
  CHECK_THROWS_AS((void)codec::decode_view<std::string_view>(in), libpool::SerializationError);
}

TEST_CASE("trivially copyable values take their size and nothing more") {
  CHECK(encoded(Point{1, 2}).size() == sizeof(Point));
  CHECK(encoded(std::array<Point, 4>{}).size() == 4 * sizeof(Point));
  CHECK(encoded(std::vector<Point>(10)).size() == 8 + 10 * sizeof(Point));
}

TEST_CASE("a bool is zero or one, everywhere") {
  const auto refused = []<class T>(const T& value) {
    Bytes bytes = encoded(value);
    bytes.back() = std::byte{2};
    CHECK_THROWS_AS((void)decoded<T>(bytes), libpool::SerializationError);
  };
  refused(true);
  refused(std::array<bool, 3>{});
  refused(std::array<std::array<bool, 2>, 3>{});
  refused(std::list<bool>{true});
  refused(std::deque<std::array<bool, 2>>(1));
  refused(std::vector<std::array<bool, 2>>(1));
  refused(std::tuple<std::string, bool>{});
  refused(std::optional<int>{});
}

TEST_CASE("a SerializationError names the type") {
  try {
    (void)decoded<std::map<int, Person>>(Bytes(3));
    FAIL("no error");
  } catch (const libpool::SerializationError& error) {
    CHECK(error.type_name() == codec::type_name<std::map<int, Person>>());
    CHECK(std::string(error.what()).find("cannot be decoded") != std::string::npos);
  }
}

TEST_CASE("a container in which a key occurs twice is refused") {
  Bytes bytes = encoded(std::vector<int>{7, 7});  // laid out as a set is
  CHECK_THROWS_AS((void)decoded<std::set<int>>(bytes), libpool::SerializationError);
  CHECK(decoded<std::multiset<int>>(bytes).size() == 2);
}
