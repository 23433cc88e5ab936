/// Contract: the user's own classes travel: with `serialize`, bit by bit, or member by member.
///
/// Runs in the test; the tasks run in workers of both pools.
#include "values.hpp"

#include <boost/serialization/base_object.hpp>
#include <boost/serialization/export.hpp>
#include <boost/serialization/split_member.hpp>
#include <boost/serialization/version.hpp>
#include <map>
#include <memory>
#include <optional>

namespace contract_classes {

/// A private constructor, private members, and a member `serialize`.
class WithMember {
 public:
  explicit WithMember(int number) : number_(number), text_(std::to_string(number)) {}
  friend bool operator==(const WithMember&, const WithMember&) = default;

 private:
  friend class boost::serialization::access;
  WithMember() = default;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & number_ & text_;
  }
  int number_ = 0;
  std::string text_;
};

struct WithFree {
  int x = 0;
  std::string y;
  friend bool operator==(const WithFree&, const WithFree&) = default;
};
template <class Archive>
void serialize(Archive& archive, WithFree& value, unsigned) {
  archive & value.x & value.y;
}

/// Its `save` and `load` differ.
class Split {
 public:
  Split() = default;
  explicit Split(int value) : value_(value) {}
  friend bool operator==(const Split&, const Split&) = default;

 private:
  friend class boost::serialization::access;
  template <class Archive>
  void save(Archive& archive, unsigned) const {
    const std::string text = std::to_string(value_);
    archive << text;
  }
  template <class Archive>
  void load(Archive& archive, unsigned) {
    std::string text;
    archive >> text;
    value_ = std::stoi(text);
  }
  BOOST_SERIALIZATION_SPLIT_MEMBER()
  int value_ = 0;
};

struct Versioned {
  int x = 0;
  unsigned seen = 0;
  template <class Archive>
  void serialize(Archive& archive, unsigned version) {
    archive & x;
    if (Archive::is_loading::value) seen = version;
  }
};

/// Trivially copyable: a class with private members, without `serialize`.
class Point {
 public:
  Point() = default;
  Point(int x, double y) : x_(x), y_(y) {}
  friend bool operator==(const Point&, const Point&) = default;

 private:
  int x_ = 0;
  double y_ = 0;
};

/// Aggregates without a line of the user's.
struct Simple {
  int x = 0;
  std::string y;
  friend bool operator==(const Simple&, const Simple&) = default;
};
struct Compound {
  Simple simple;
  std::vector<Simple> many;
  std::optional<std::map<std::string, Simple>> maybe;
  std::pair<int, Point> pair;
  friend bool operator==(const Compound&, const Compound&) = default;
};
struct MoveOnly {
  std::unique_ptr<int> box;
  std::string name;
};
struct Empty {
  friend bool operator==(const Empty&, const Empty&) = default;
};

/// Members called `serialize` that are not Boost's.
struct TellsItself {
  std::string text;
  [[nodiscard]] std::string serialize() const { return '<' + text + '>'; }
};
struct HasFlag {
  int x = 0;
  bool serialize = false;
};

/// A class without a default constructor that travels bit by bit.
class NoDefault {
 public:
  explicit NoDefault(int x) : x_(x) {}
  friend bool operator==(const NoDefault&, const NoDefault&) = default;

 private:
  int x_;
};

struct Shape {
  virtual ~Shape() = default;
  [[nodiscard]] virtual double area() const = 0;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & name;
  }
  std::string name = "shape";
};
struct Square : Shape {
  double side = 0;
  [[nodiscard]] double area() const override { return side * side; }
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive& boost::serialization::base_object<Shape>(*this) & side;
  }
};
struct Circle : Shape {
  double radius = 0;
  [[nodiscard]] double area() const override { return 3 * radius * radius; }
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive& boost::serialization::base_object<Shape>(*this) & radius;
  }
};

}  // namespace contract_classes

BOOST_CLASS_VERSION(contract_classes::Versioned, 7)
BOOST_SERIALIZATION_ASSUME_ABSTRACT(contract_classes::Shape)
BOOST_CLASS_EXPORT(contract_classes::Square)
BOOST_CLASS_EXPORT(contract_classes::Circle)

using namespace contract;
using namespace contract_classes;

namespace {

double area_of(const std::shared_ptr<Shape>& shape) { return shape->area(); }
double area_of_unique(std::unique_ptr<Shape> shape) { return shape->area(); }
std::unique_ptr<Shape> make_shape(int kind) {
  if (kind == 0) {
    auto square = std::make_unique<Square>();
    square->side = 2;
    square->name = "square";
    return square;
  }
  auto circle = std::make_unique<Circle>();
  circle->radius = 1;
  circle->name = "circle";
  return circle;
}

}  // namespace

BOTH_POOLS("a class with a private member serialize and private constructor travels") {
  Pool pool(1);
  CHECK(pool.apply([](const WithMember& value) { return value == WithMember(5); }, WithMember(5)));
  CHECK(pool.apply([](int x) { return WithMember(x); }, 6) == WithMember(6));
}

BOTH_POOLS("a class with a free serialize travels") {
  Pool pool(1);
  check_travels(pool, WithFree{1, "one"});
}

BOTH_POOLS("a class whose save and load differ travels") {
  Pool pool(1);
  check_travels(pool, Split(-12));
}

BOTH_POOLS("a versioned class is told its version") {
  Pool pool(1);
  const Versioned back = pool.apply(identity<Versioned>, Versioned{3, 7});
  CHECK(back.x == 3);
  CHECK(back.seen == 7);
}

BOTH_POOLS("a trivially copyable class travels bit by bit") {
  Pool pool(1);
  check_travels(pool, Point(1, 2.5));
  check_travels(pool, std::vector<Point>(100, Point(3, 4)));
}

BOTH_POOLS("a trivially copyable class without a default constructor travels") {
  Pool pool(1);
  check_travels(pool, NoDefault(5));
}

BOTH_POOLS("an empty class travels") {
  Pool pool(1);
  check_travels(pool, Empty{});
}

BOTH_POOLS("an aggregate travels member by member") {
  Pool pool(1);
  check_travels(pool, Simple{1, "one"});
}

BOTH_POOLS("an aggregate of aggregates and containers travels") {
  Pool pool(1);
  check_travels(
      pool, Compound{{1, "one"}, {{2, "two"}, {3, ""}}, {{{"k", {4, "four"}}}}, {5, Point(6, 7)}});
  check_travels(pool, Compound{});
}

BOTH_POOLS("an aggregate that can only be moved travels") {
  Pool pool(1);
  const auto back = pool.apply(
      [](MoveOnly value) {
        value.name += "!";
        return value;
      },
      MoveOnly{std::make_unique<int>(5), "name"});
  CHECK(*back.box == 5);
  CHECK(back.name == "name!");
}

BOTH_POOLS("a member called serialize that takes no archive is a member like any other") {
  Pool pool(1);
  CHECK(pool.apply([](TellsItself value) { return value; }, TellsItself{"a"}).serialize() == "<a>");
  const HasFlag flag = pool.apply([](HasFlag value) { return value; }, HasFlag{7, true});
  CHECK(flag.x == 7);
  CHECK(flag.serialize);
}

BOTH_POOLS("containers of classes with serialize travel") {
  Pool pool(1);
  check_travels(pool, std::vector<WithFree>{{1, "a"}, {2, "b"}});
  check_travels(pool, std::map<int, WithFree>{{1, {1, "a"}}});
  check_travels(pool, std::optional<Split>(Split(3)));
}

BOTH_POOLS("a shared pointer to an exported derived class keeps its type") {
  Pool pool(1);
  CHECK(pool.apply(area_of, std::shared_ptr<Shape>(make_shape(0))) == 4);
  CHECK(pool.apply(area_of, std::shared_ptr<Shape>(make_shape(1))) == 3);
}

BOTH_POOLS("a unique pointer to an exported derived class keeps its type, both ways") {
  Pool pool(1);
  CHECK(pool.apply(area_of_unique, make_shape(0)) == 4);
  const auto shape = pool.apply(make_shape, 1);
  CHECK(shape->area() == 3);
  CHECK(shape->name == "circle");
}

BOTH_POOLS("a container of polymorphic pointers travels") {
  Pool pool(1);
  std::vector<std::shared_ptr<Shape>> shapes{make_shape(0), make_shape(1)};
  const double sum = pool.apply(
      [](const std::vector<std::shared_ptr<Shape>>& all) {
        double result = 0;
        for (const auto& shape : all) result += shape->area();
        return result;
      },
      shapes);
  CHECK(sum == 7);
}
