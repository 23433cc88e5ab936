/// Facts about classes with a `serialize`: they travel as Boost.Serialization documents it.
#include <libpool/codec/archive.hpp>

#include <doctest/doctest.h>

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include <boost/serialization/array_wrapper.hpp>
#include <boost/serialization/base_object.hpp>
#include <boost/serialization/binary_object.hpp>
#include <boost/serialization/export.hpp>
#include <boost/serialization/split_free.hpp>
#include <boost/serialization/split_member.hpp>

#include <libpool/codec/codec.hpp>
#include <tests/support/payload_buffer.hpp>

using namespace libpool::testing;
namespace codec = libpool::codec;
using libpool::SerializationError;

namespace shapes {

/// An aggregate, as a member of classes that have a `serialize`.
struct Tag {
  std::string key;
  int value;
  bool operator==(const Tag&) const = default;
};

/// Private members, a private `serialize`, a version.
class Private {
 public:
  Private() = default;
  explicit Private(int number)
      : number_(number),
        rows_{{1, "one"}, {2, std::nullopt}},
        choice_(std::string("x")),
        tag_{"t", 3} {}
  bool operator==(const Private&) const = default;

 private:
  friend class boost::serialization::access;
  template <class Archive>
  void serialize(Archive& archive, unsigned version) {
    if (version != 3) throw std::logic_error("another version");
    archive& BOOST_SERIALIZATION_NVP(number_) & rows_ & choice_ & tag_;
    archive & squares_;
  }
  int number_ = 0;
  std::vector<std::tuple<int, std::optional<std::string>>> rows_;
  std::variant<int, std::string> choice_;
  Tag tag_{};
  std::string squares_[2] = {"a", "b"};
};

/// `save` and `load` of their own.
class Split {
 public:
  Split() = default;
  explicit Split(int number) : number_(number) {}
  bool operator==(const Split&) const = default;
  template <class Archive>
  void save(Archive& archive, unsigned) const {
    const std::string text = std::to_string(number_);
    archive << text;
  }
  template <class Archive>
  void load(Archive& archive, unsigned) {
    std::string text;
    archive >> text;
    number_ = std::stoi(text);
  }
  BOOST_SERIALIZATION_SPLIT_MEMBER()

 private:
  int number_ = 0;
};

/// Trivially copyable, with a `serialize` that says less: it wins over copying bits.
struct Modest {
  int told = 0;
  int kept = 0;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & told;
  }
};

/// Free functions, found by the namespace of the class.
struct Free {
  int x = 0;
  std::string y;
  bool operator==(const Free&) const = default;
};
template <class Archive>
void serialize(Archive& archive, Free& free, const unsigned) {
  archive & free.x & free.y;
}

/// Free functions in namespace boost::serialization.
struct Outside {
  int x = 0;
  bool operator==(const Outside&) const = default;
};
struct OutsideSplit {
  int x = 0;
  bool operator==(const OutsideSplit&) const = default;
};

/// No default constructor: made by load_construct_data.
struct Made {
  explicit Made(int given) : number(given) {}
  const int number;
  std::string text;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & text;
  }
  Made(const Made&) = default;
  bool operator==(const Made&) const = default;
  bool operator<(const Made& other) const { return number < other.number; }
};

/// Writes nothing.
struct Silent {
  template <class Archive>
  void serialize(Archive&, unsigned) {}
};

struct Raw {
  std::vector<double> numbers = std::vector<double>(4);
  int block[3] = {};
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive& boost::serialization::make_array(numbers.data(), numbers.size());
    archive& boost::serialization::make_binary_object(block, sizeof block);
  }
  bool operator==(const Raw& other) const {
    return numbers == other.numbers && std::equal(block, block + 3, other.block);
  }
};

struct Shape {
  virtual ~Shape() = default;
  [[nodiscard]] virtual int area() const = 0;
  int id = 0;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & id;
  }
};
struct Square : Shape {
  int side = 0;
  [[nodiscard]] int area() const override { return side * side; }
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive& boost::serialization::base_object<Shape>(*this) & side;
  }
};
struct Group : Shape {
  std::vector<std::unique_ptr<Shape>> parts;
  [[nodiscard]] int area() const override {
    int sum = 0;
    for (const auto& part : parts) sum += part->area();
    return sum;
  }
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive& boost::serialization::base_object<Shape>(*this) & parts;
  }
};
struct Unexported : Shape {
  [[nodiscard]] int area() const override { return 1; }
};

/// Raw pointers that the class owns or that point back, as Boost tracks them.
struct Node {
  int value = 0;
  Node* parent = nullptr;
  std::list<Node> children;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & value & parent & children;
  }
};

struct Linked {
  int value = 0;
  std::unique_ptr<Linked> next;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & value & next;
  }
};

struct Shared {
  int value = 0;
  std::shared_ptr<Shared> other;
  Shared* plain = nullptr;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & value & other & plain;
  }
};

/// A base without virtual functions.
struct Flat {
  int number = 0;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & number;
  }
};
struct Wider : Flat {
  std::string text;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive& boost::serialization::base_object<Flat>(*this) & text;
  }
};

struct Throwing {
  bool on_load = false;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    if constexpr (Archive::is_saving::value) {
      if (!on_load) throw 42;
    }
    archive & on_load;
    if constexpr (Archive::is_loading::value) throw std::out_of_range("in load");
  }
};

}  // namespace shapes

namespace boost::serialization {
template <class Archive>
void serialize(Archive& archive, shapes::Outside& outside, const unsigned) {
  archive & outside.x;
}
template <class Archive>
void save(Archive& archive, const shapes::OutsideSplit& outside, const unsigned) {
  archive << outside.x;
}
template <class Archive>
void load(Archive& archive, shapes::OutsideSplit& outside, const unsigned) {
  archive >> outside.x;
}
template <class Archive>
void save_construct_data(Archive& archive, const shapes::Made* made, const unsigned) {
  archive << made->number;
}
template <class Archive>
void load_construct_data(Archive& archive, shapes::Made* made, const unsigned) {
  int number = 0;
  archive >> number;
  ::new (made) shapes::Made(number);
}
}  // namespace boost::serialization
BOOST_SERIALIZATION_SPLIT_FREE(shapes::OutsideSplit)
BOOST_CLASS_VERSION(shapes::Private, 3)
BOOST_SERIALIZATION_ASSUME_ABSTRACT(shapes::Shape)
BOOST_CLASS_EXPORT(shapes::Square)
BOOST_CLASS_EXPORT(shapes::Group)

using namespace shapes;

TEST_CASE_TEMPLATE("classes with a serialize of any form come back", T, Private, Split, Free,
                   Outside, OutsideSplit, Raw) {
  static_assert(codec::OwnSerialize<T>);
  T value{};
  if constexpr (!std::is_aggregate_v<T>) value = T(17);
  if constexpr (std::is_same_v<T, Free>) value = {17, "seventeen"};
  if constexpr (std::is_same_v<T, Outside> || std::is_same_v<T, OutsideSplit>) value.x = 17;
  if constexpr (std::is_same_v<T, Raw>) value.numbers[3] = value.block[1] = 17;
  CHECK(round_trip(value) == value);
  CHECK(round_trip(std::vector<T>{value, T{}, value}) == std::vector<T>{value, T{}, value});
  CHECK(round_trip(std::map<int, std::optional<T>>{{1, value}, {2, {}}}).at(1) == value);
  CHECK(*round_trip(std::make_shared<T>(value)) == value);
  check_truncations_refused<std::vector<T>>(encoded(std::vector<T>{value, value}));
  decode_damaged<std::vector<std::shared_ptr<T>>>(encoded(std::vector{std::make_shared<T>(value)}));
}

TEST_CASE("a serialize wins over copying bits") {
  const auto back = round_trip(Modest{.told = 1, .kept = 2});
  CHECK(back.told == 1);
  CHECK(back.kept == 0);
}

TEST_CASE("classes without a default constructor are made by load_construct_data") {
  Made made(4);
  made.text = "four";
  CHECK(round_trip(made) == made);
  CHECK(round_trip(std::vector<Made>{made, Made(5)}) == std::vector<Made>{made, Made(5)});
  CHECK(round_trip(std::set<Made>{made, Made(5)}).size() == 2);
  CHECK(round_trip(std::optional<Made>(made)) == made);
  CHECK(round_trip(std::tuple<Made, int>(made, 1)) == std::tuple<Made, int>(made, 1));
  CHECK(*round_trip(std::make_shared<Made>(made)) == made);
  check_truncations_refused<std::vector<std::shared_ptr<Made>>>(
      encoded(std::vector{std::make_shared<Made>(made)}));
}

TEST_CASE("polymorphic pointers keep their class, and shared ones their sharing") {
  const auto square = std::make_shared<Square>();
  square->side = 3;
  const auto group = std::make_shared<Group>();
  group->parts.push_back(std::make_unique<Square>(*square));
  group->parts.push_back(std::make_unique<Group>());
  const std::vector<std::shared_ptr<Shape>> all{square, nullptr, group, square};
  const Bytes bytes = encoded(all);
  const auto back = decoded<std::vector<std::shared_ptr<Shape>>>(bytes);
  CHECK(back[0] == back[3]);
  CHECK(back[1] == nullptr);
  CHECK(back[2]->area() == 9);
  check_truncations_refused<std::vector<std::shared_ptr<Shape>>>(bytes);
  decode_damaged<std::vector<std::shared_ptr<Shape>>>(bytes);
}

TEST_CASE("a class that was not exported cannot be encoded by its base") {
  CHECK_THROWS_AS((void)encoded(std::unique_ptr<Shape>(std::make_unique<Unexported>())),
                  SerializationError);
}

TEST_CASE("raw pointers to objects of the same value are tracked") {
  Node root{.value = 1, .parent = nullptr, .children = {}};
  root.children.push_back({.value = 2, .parent = &root, .children = {}});
  root.children.push_back({.value = 3, .parent = &root.children.front(), .children = {}});
  const auto bytes = encoded(std::unique_ptr<Node>(new Node(root)));  // its parents point to `root`
  const auto owner = std::make_unique<Node>();
  owner->children = root.children;
  for (Node& child : owner->children) child.parent = owner.get();
  const auto back = round_trip(std::make_shared<Node>(root)->children.front().value);
  CHECK(back == 2);
  PayloadBuffer out;
  codec::encode(out, owner);
  codec::PayloadReader in(out.written());
  const auto copy = codec::decode<std::unique_ptr<Node>>(in);
  CHECK(copy->children.front().parent == copy.get());
  CHECK(copy->children.back().parent == copy.get());
  CHECK(!bytes.empty());
}

TEST_CASE("a cycle of shared objects closes again, and a raw pointer finds the shared object") {
  const auto a = std::make_shared<Shared>();
  a->other = std::make_shared<Shared>();
  a->other->other = a;
  a->other->plain = a.get();
  PayloadBuffer out;
  codec::encode(out, a);
  codec::PayloadReader in(out.written());
  const auto back = codec::decode<std::shared_ptr<Shared>>(in);
  CHECK(back->other->other == back);
  CHECK(back->other->plain == back.get());
  a->other->other = nullptr;
  back->other->other = nullptr;
}

TEST_CASE("what a serialize throws is a SerializationError") {
  CHECK_THROWS_AS((void)encoded(Throwing{.on_load = false}), SerializationError);
  const Bytes bytes = encoded(Throwing{.on_load = true});
  try {
    (void)decoded<Throwing>(bytes);
    FAIL("no error");
  } catch (const SerializationError& error) {
    CHECK(std::string(error.what()).ends_with("in load"));
    CHECK(error.type_name() == "shapes::Throwing");
  }
}

TEST_CASE("an object cannot get two owners from a forged payload") {
  // Two unique pointers, the second of which refers to the object of the first.
  const auto shared = std::make_shared<Square>();
  const Bytes bytes = encoded(std::vector<std::shared_ptr<Shape>>{shared, shared});
  CHECK_THROWS_AS((void)decoded<std::vector<std::unique_ptr<Shape>>>(bytes), SerializationError);
}

TEST_CASE("a reference to an object of another class is refused") {
  const auto node = std::make_shared<Node>();
  const Bytes bytes = encoded(std::pair(node, node));
  using Confused = std::pair<std::shared_ptr<Node>, std::shared_ptr<Linked>>;
  CHECK_THROWS_AS((void)decoded<Confused>(bytes), SerializationError);
  const auto wider = std::make_shared<Wider>();
  using ByBase = std::pair<std::shared_ptr<Wider>, std::unique_ptr<Flat>>;
  CHECK_THROWS_AS((void)decoded<ByBase>(encoded(std::pair(wider, wider))), SerializationError);
  using Sliced = std::pair<std::shared_ptr<Wider>, std::shared_ptr<Flat>>;
  CHECK_THROWS_AS((void)decoded<Sliced>(encoded(std::pair(wider, wider))), SerializationError);
}

TEST_CASE("values that nest too deeply are refused on both sides, and shallower ones come back") {
  const auto chain = [](std::size_t length) {
    std::unique_ptr<Linked> first;
    for (std::size_t i = 0; i < length; ++i) {
      auto link = std::make_unique<Linked>();
      link->next = std::move(first);
      first = std::move(link);
    }
    return first;
  };
  std::size_t length = 1;
  Bytes deepest;
  try {
    for (;; ++length) deepest = encoded(chain(length));
  } catch (const SerializationError&) {
  }
  CHECK(length > 400);
  CHECK(decoded<std::unique_ptr<Linked>>(deepest) != nullptr);
  // One link more, forged: the same links follow once more where the last one's null pointer was.
  Bytes deeper(deepest.begin(), deepest.end() - 1);
  deeper.insert(deeper.end(), deepest.begin(), deepest.end());
  CHECK_THROWS_AS((void)decoded<std::unique_ptr<Linked>>(deeper), SerializationError);
}

TEST_CASE("elements that take no bytes cannot be promised without end") {
  CHECK(round_trip(std::vector<std::string>(3)).size() == 3);
  PayloadBuffer out;
  codec::encode(out, std::uint64_t{1} << 60);
  CHECK_THROWS_AS((void)decoded<std::list<Silent>>(out.bytes()), SerializationError);
  CHECK(decoded<std::list<Silent>>(encoded(std::list<Silent>(5))).size() == 5);
}
