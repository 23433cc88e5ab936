/// Contract: `register_exception`, `SerializationError`, and what the classes of `errors.hpp` are.
///
/// Runs in the test; the tasks run in workers of both pools.
#include "contract.hpp"

#include <map>
#include <type_traits>

using namespace contract;

namespace {

struct FromText : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct DerivedFromText : FromText {
  using FromText::FromText;
};
struct WithMembers : std::exception {
  WithMembers() = default;
  WithMembers(int number, std::string name) : code(number), text(std::move(name)) {}
  [[nodiscard]] const char* what() const noexcept override { return text.c_str(); }
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & code & text;
  }
  int code = 0;
  std::string text;
};
int throw_from_text(int x) { throw FromText("text " + std::to_string(x)); }
int throw_derived(int) { throw DerivedFromText("derived"); }
int throw_with_members(int x) { throw WithMembers(x, "members"); }

/// Its `save` or its `load` throws, as `fails` says.
struct Fragile {
  int fails = 0;  // 1: when saved in the caller, 2: when loaded, 3: when saved in a worker
  template <class Archive>
  void save(Archive& archive, unsigned) const {
    if (fails == 1 || fails == 3) throw std::runtime_error("no way out");
    archive << fails;
  }
  template <class Archive>
  void load(Archive& archive, unsigned) {
    archive >> fails;
    if (fails == 2) throw std::out_of_range("no way in");
  }
  template <class Archive>
  void serialize(Archive& archive, unsigned version) {
    if constexpr (Archive::is_saving::value) {
      save(archive, version);
    } else {
      load(archive, version);
    }
  }
};
int look(const Fragile& fragile) { return fragile.fails; }
Fragile make_fragile(int fails) { return Fragile{fails}; }

std::vector<Fragile> fragiles(int n, int bad_at, int fails) {
  std::vector<Fragile> values(static_cast<std::size_t>(n));
  values[static_cast<std::size_t>(bad_at)].fails = fails;
  return values;
}

}  // namespace

static_assert(std::is_base_of_v<std::runtime_error, libpool::PoolError>);
static_assert(std::is_base_of_v<libpool::PoolError, libpool::TaskError>);
static_assert(std::is_base_of_v<libpool::PoolError, libpool::WorkerCrashed>);
static_assert(std::is_base_of_v<libpool::PoolError, libpool::TaskTimeout>);
static_assert(std::is_base_of_v<libpool::PoolError, libpool::TaskCancelled>);
static_assert(std::is_base_of_v<libpool::PoolError, libpool::PoolClosed>);
static_assert(std::is_base_of_v<libpool::PoolError, libpool::PoolTerminated>);
static_assert(std::is_base_of_v<libpool::PoolError, libpool::PoolBroken>);
static_assert(std::is_base_of_v<libpool::PoolError, libpool::SerializationError>);
static_assert(std::is_base_of_v<libpool::PoolError, libpool::TimeoutError>);
static_assert(!std::is_base_of_v<std::exception, libpool::RemoteOrigin>);

BOTH_POOLS("a registered exception that is made from a string keeps its type and text") {
  libpool::register_exception<FromText>();
  Pool pool(1);
  const auto error = caught<FromText>([&] { pool.apply(throw_from_text, 7); });
  REQUIRE(error.has_value());
  CHECK(std::string(error->what()) == "text 7");
}

BOTH_POOLS("a registered exception that is serialised keeps its members") {
  libpool::register_exception<WithMembers>();
  Pool pool(1);
  const auto error = caught<WithMembers>([&] { pool.apply(throw_with_members, 7); });
  REQUIRE(error.has_value());
  CHECK(error->code == 7);
  CHECK(error->text == "members");
}

TEST_CASE("a registered exception of a ProcessPool carries its origin") {
  libpool::register_exception<FromText>();
  libpool::register_exception<WithMembers>();
  ProcessPool pool(1);
  for (auto* task : {throw_from_text, throw_with_members}) {
    bool seen = false;
    try {
      pool.map(task, numbers(3));
    } catch (const libpool::RemoteOrigin& origin) {
      seen = origin.index() == 0 && origin.pid() == pool.stats().workers.at(0).pid;
    }
    CHECK(seen);
  }
}

TEST_CASE("a class derived from a registered exception is not registered by that") {
  libpool::register_exception<FromText>();
  ProcessPool pool(1);
  CHECK_THROWS_AS(pool.apply(throw_derived, 0), libpool::TaskError);
}

TEST_CASE("an exception may be registered twice") {
  libpool::register_exception<FromText>();
  libpool::register_exception<FromText>();
  ProcessPool pool(1);
  CHECK_THROWS_AS(pool.apply(throw_from_text, 0), FromText);
}

BOTH_POOLS("a base of a registered exception catches it") {
  libpool::register_exception<WithMembers>();
  Pool pool(1);
  CHECK_THROWS_AS(pool.apply(throw_with_members, 1), std::exception);
}

TEST_CASE("an argument that cannot be encoded is a SerializationError that names its type") {
  ProcessPool pool(2);
  const auto error = caught<libpool::SerializationError>([&] { pool.apply(look, Fragile{1}); });
  REQUIRE(error.has_value());
  CHECK(error->type_name().find("Fragile") != std::string::npos);
  CHECK(std::string(error->what()).find("no way out") != std::string::npos);
}

TEST_CASE("an argument that cannot be decoded is a SerializationError that names its type") {
  ProcessPool pool(2);
  const auto error = caught<libpool::SerializationError>([&] { pool.apply(look, Fragile{2}); });
  REQUIRE(error.has_value());
  CHECK(error->type_name().find("Fragile") != std::string::npos);
  CHECK(std::string(error->what()).find("no way in") != std::string::npos);
}

TEST_CASE("a result that cannot be encoded is a SerializationError that names its type") {
  ProcessPool pool(2);
  const auto error = caught<libpool::SerializationError>([&] { pool.apply(make_fragile, 3); });
  REQUIRE(error.has_value());
  CHECK(error->type_name().find("Fragile") != std::string::npos);
}

TEST_CASE("a result that cannot be decoded is a SerializationError that names its type") {
  ProcessPool pool(2);
  const auto error = caught<libpool::SerializationError>([&] { pool.apply(make_fragile, 2); });
  REQUIRE(error.has_value());
  CHECK(error->type_name().find("Fragile") != std::string::npos);
}

TEST_CASE("one item that cannot be encoded or decoded is that item's outcome alone") {
  ProcessPool pool(2);
  for (int fails : {1, 2}) {
    for (int where : {0, 5, 9}) {
      for (std::size_t chunksize : {1U, 4U, 10U}) {
        CAPTURE(fails);
        CAPTURE(where);
        CAPTURE(chunksize);
        const auto outcomes =
            pool.try_map(look, fragiles(10, where, fails), {.chunksize = chunksize});
        REQUIRE(outcomes.size() == 10);
        for (int i = 0; i < 10; ++i) {
          const auto& outcome = outcomes[static_cast<std::size_t>(i)];
          if (i == where) {
            CHECK_THROWS_AS(outcome.value(), libpool::SerializationError);
          } else {
            CHECK(outcome.has_value());
          }
        }
      }
    }
  }
}

TEST_CASE("one result that cannot be encoded or decoded is that item's outcome alone") {
  ProcessPool pool(2);
  for (int fails : {2, 3}) {
    std::vector<int> items(10, 0);
    items[4] = fails;
    const auto outcomes = pool.try_map(make_fragile, items, {.chunksize = 5});
    for (std::size_t i = 0; i < 10; ++i) CHECK(outcomes[i].has_value() == (i != 4));
    CHECK_THROWS_AS(outcomes[4].value(), libpool::SerializationError);
  }
}

TEST_CASE("asynchronous calls give a SerializationError through the handle") {
  ProcessPool pool(1);
  for (int fails : {1, 2}) {
    std::optional<libpool::AsyncResult<int>> one;
    REQUIRE_NOTHROW(one = pool.apply_async(look, Fragile{fails}));
    CHECK_THROWS_AS(one->get(), libpool::SerializationError);
    std::optional<libpool::AsyncResult<std::vector<int>>> many;
    REQUIRE_NOTHROW(many = pool.map_async(look, fragiles(5, 3, fails)));
    CHECK_THROWS_AS(many->get(), libpool::SerializationError);
  }
}

TEST_CASE("imap gives an item that cannot be encoded in its place and goes on") {
  ProcessPool pool(1);
  for (int fails : {1, 2}) {
    for (std::size_t chunksize : {1U, 3U, 6U}) {
      auto results = pool.imap(look, fragiles(5, 2, fails), {.chunksize = chunksize});
      CHECK(results.next() == 0);
      CHECK(results.next() == 0);
      CHECK_THROWS_AS(results.next(), libpool::SerializationError);
      CHECK(results.next() == 0);
      CHECK(results.next() == 0);
      CHECK(results.next() == std::nullopt);
    }
  }
}

TEST_CASE("a ThreadPool serialises nothing") {
  ThreadPool pool(2);
  CHECK(pool.apply(look, Fragile{1}) == 1);
  CHECK(pool.apply(make_fragile, 3).fails == 3);
}

TEST_CASE("a bound value that cannot be encoded is a SerializationError") {
  ProcessPool pool(1);
  const auto with_bound =
      libpool::partial([](const Fragile& fragile, int x) { return fragile.fails + x; }, Fragile{1});
  CHECK_THROWS_AS(pool.apply(with_bound, 1), libpool::SerializationError);
  CHECK_THROWS_AS(pool.map(with_bound, numbers(10)), libpool::SerializationError);
  CHECK_THROWS_AS(pool.map_async(with_bound, numbers(10)).get(), libpool::SerializationError);
  CHECK(pool.apply(square, 2) == 4);
}

TEST_CASE("a bound value that cannot be decoded is a SerializationError of the items") {
  ProcessPool pool(1);
  const auto with_bound =
      libpool::partial([](const Fragile& fragile, int x) { return fragile.fails + x; }, Fragile{2});
  CHECK_THROWS_AS(pool.map(with_bound, numbers(10)), libpool::SerializationError);
  CHECK(pool.apply(square, 2) == 4);
}
