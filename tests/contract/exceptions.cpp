/// Contract: what a task throws, and what the caller catches.
///
/// Runs in the test; the tasks run in workers of both pools.
#include "contract.hpp"

#include <any>
#include <exception>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <memory>
#include <new>
#include <optional>
#include <regex>
#include <set>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <typeinfo>
#include <variant>

using namespace contract;

namespace {

/// Tasks that throw one type each; all have one signature, so that the pools' templates are made
/// once.
template <class E>
int throw_with_text(int) {
  throw E("the text");
}
template <class E>
int throw_plain(int) {
  throw E();
}
int throw_system_error(int) { throw std::system_error(ENOENT, std::system_category(), "the text"); }
int throw_generic_error(int) {
  throw std::system_error(std::make_error_code(std::errc::timed_out), "the text");
}
int throw_ios_failure(int) { throw std::ios_base::failure("the text", std::io_errc::stream); }
int throw_filesystem_error(int) {
  throw std::filesystem::filesystem_error("the text", "/one", "/two",
                                          std::make_error_code(std::errc::io_error));
}
int throw_future_error(int) { throw std::future_error(std::future_errc::no_state); }
int throw_regex_error(int) { throw std::regex_error(std::regex_constants::error_brack); }
int throw_bad_variant_access(int) { return std::get<int>(std::variant<char, int>('x')); }
int throw_bad_typeid(int) { throw std::bad_typeid(); }

/// What one row of the table below expects: the exception that the task throws when it is called
/// here.
struct Row {
  const char* type;
  int (*task)(int);
  bool (*is_own_type)(const std::exception&);
};
template <class E>
bool is_a(const std::exception& error) {
  return dynamic_cast<const E*>(&error) != nullptr;
}
#define ROW(type, task) \
  Row { #type, task, is_a<type> }

const Row standard_exceptions[] = {
    ROW(std::logic_error, throw_with_text<std::logic_error>),
    ROW(std::domain_error, throw_with_text<std::domain_error>),
    ROW(std::invalid_argument, throw_with_text<std::invalid_argument>),
    ROW(std::length_error, throw_with_text<std::length_error>),
    ROW(std::out_of_range, throw_with_text<std::out_of_range>),
    ROW(std::runtime_error, throw_with_text<std::runtime_error>),
    ROW(std::range_error, throw_with_text<std::range_error>),
    ROW(std::overflow_error, throw_with_text<std::overflow_error>),
    ROW(std::underflow_error, throw_with_text<std::underflow_error>),
    ROW(std::system_error, throw_system_error),
    ROW(std::system_error, throw_generic_error),
    ROW(std::ios_base::failure, throw_ios_failure),
    ROW(std::filesystem::filesystem_error, throw_filesystem_error),
    ROW(std::future_error, throw_future_error),
    ROW(std::regex_error, throw_regex_error),
    ROW(std::bad_alloc, throw_plain<std::bad_alloc>),
    ROW(std::bad_array_new_length, throw_plain<std::bad_array_new_length>),
    ROW(std::bad_cast, throw_plain<std::bad_cast>),
    ROW(std::bad_typeid, throw_bad_typeid),
    ROW(std::bad_optional_access, throw_plain<std::bad_optional_access>),
    ROW(std::bad_any_cast, throw_plain<std::bad_any_cast>),
    ROW(std::bad_variant_access, throw_bad_variant_access),
    ROW(std::bad_function_call, throw_plain<std::bad_function_call>),
    ROW(libpool::PoolError, throw_with_text<libpool::PoolError>),
    ROW(libpool::TaskError, throw_with_text<libpool::TaskError>),
    ROW(libpool::TaskCancelled, throw_plain<libpool::TaskCancelled>),
    ROW(libpool::PoolClosed, throw_plain<libpool::PoolClosed>),
    ROW(libpool::PoolTerminated, throw_plain<libpool::PoolTerminated>),
    ROW(libpool::TimeoutError, throw_plain<libpool::TimeoutError>),
};

std::string text_thrown_here(const Row& row) {
  try {
    static_cast<void>(row.task(0));
  } catch (const std::exception& error) {
    return error.what();
  }
  return "nothing was thrown";
}

struct Unregistered : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct NoStandardBase {
  int code;
};
int throw_unregistered(int) { throw Unregistered("the text"); }
int throw_object(int) { throw NoStandardBase{3}; }
int throw_int(int) { throw 42; }
int throw_literal(int) { throw "the text"; }
int throw_string(int) { throw std::string("the text"); }
int throw_huge_text(int) { throw std::runtime_error(std::string(std::size_t{1} << 20, 'x')); }
int throw_zeros(int) { throw std::runtime_error(std::string()); }
int throw_nested(int) {
  try {
    try {
      throw std::out_of_range("the innermost text");
    } catch (...) {
      std::throw_with_nested(std::runtime_error("the middle text"));
    }
  } catch (...) {
    std::throw_with_nested(std::logic_error("the outer text"));
  }
}

/// The texts of an exception and of all that are nested in it.
std::string all_texts(const std::exception& error) {
  std::string text = error.what();
  try {
    std::rethrow_if_nested(error);
  } catch (const std::exception& nested) {
    text += "; " + all_texts(nested);
  }
  return text;
}

}  // namespace

BOTH_POOLS("every standard exception keeps its type and its text") {
  Pool pool(1);
  for (const Row& row : standard_exceptions) {
    CAPTURE(row.type);
    bool caught_it = false;
    try {
      pool.apply(row.task, 0);
    } catch (const std::exception& error) {
      caught_it = true;
      CHECK(row.is_own_type(error));
      CHECK(std::string(error.what()) == text_thrown_here(row));
    }
    CHECK(caught_it);
  }
}

TEST_CASE("every exception of a ProcessPool's task carries its origin") {
  ProcessPool pool(1);
  pool.apply(square, 1);
  const pid_t worker = pool.stats().workers.at(0).pid;
  for (const Row& row : standard_exceptions) {
    CAPTURE(row.type);
    bool caught_it = false;
    try {
      pool.map(row.task, std::vector<int>{0});
    } catch (const libpool::RemoteOrigin& origin) {
      caught_it = true;
      CHECK(origin.pid() == worker);
      CHECK(origin.index() == 0);
      const std::string name(row.type);
      CHECK(origin.type_name().find(name.substr(name.rfind(':') + 1)) != std::string::npos);
    }
    CHECK(caught_it);
  }
}

BOTH_POOLS("a system error keeps its code") {
  Pool pool(1);
  const auto error = caught<std::system_error>([&] { pool.apply(throw_system_error, 0); });
  REQUIRE(error.has_value());
  CHECK(error->code() == std::error_code(ENOENT, std::system_category()));
  const auto generic = caught<std::system_error>([&] { pool.apply(throw_generic_error, 0); });
  REQUIRE(generic.has_value());
  CHECK(generic->code() == std::errc::timed_out);
  CHECK(generic->code().category() == std::generic_category());
}

BOTH_POOLS("a failure of a stream keeps its code") {
  Pool pool(1);
  const auto error = caught<std::ios_base::failure>([&] { pool.apply(throw_ios_failure, 0); });
  REQUIRE(error.has_value());
  CHECK(error->code() == std::io_errc::stream);
}

BOTH_POOLS("a filesystem error keeps its code and its paths") {
  Pool pool(1);
  const auto error =
      caught<std::filesystem::filesystem_error>([&] { pool.apply(throw_filesystem_error, 0); });
  REQUIRE(error.has_value());
  CHECK(error->code() == std::errc::io_error);
  CHECK(error->path1() == "/one");
  CHECK(error->path2() == "/two");
}

BOTH_POOLS("a future error and a regex error keep their codes") {
  Pool pool(1);
  const auto future = caught<std::future_error>([&] { pool.apply(throw_future_error, 0); });
  REQUIRE(future.has_value());
  CHECK(future->code() == std::future_errc::no_state);
  const auto regex = caught<std::regex_error>([&] { pool.apply(throw_regex_error, 0); });
  REQUIRE(regex.has_value());
  CHECK(regex->code() == std::regex_constants::error_brack);
}

BOTH_POOLS("an exception can be caught by its base, unambiguously") {
  Pool pool(1);
  CHECK_THROWS_AS(pool.apply(throw_if_odd, 1), std::logic_error);
  CHECK_THROWS_AS(pool.apply(throw_if_odd, 1), std::exception);
  CHECK_THROWS_AS(pool.apply(throw_system_error, 1), std::runtime_error);
}

TEST_CASE(
    "an exception of a ProcessPool can be caught as RemoteOrigin and rethrown as what it is") {
  ProcessPool pool(1);
  try {
    pool.apply(throw_if_odd, 1);
    FAIL("nothing was thrown");
  } catch (const libpool::RemoteOrigin&) {
    CHECK_THROWS_AS(throw, std::out_of_range);
  }
}

TEST_CASE(
    "an exception that is neither standard nor registered becomes a TaskError with its text") {
  ProcessPool pool(1);
  const auto error = caught<libpool::TaskError>([&] { pool.apply(throw_unregistered, 0); });
  REQUIRE(error.has_value());
  CHECK(std::string(error->what()).find("the text") != std::string::npos);
}

TEST_CASE("objects that are no exception classes become a TaskError that names their type") {
  ProcessPool pool(1);
  struct Case {
    int (*task)(int);
    const char* type;
  };
  for (const Case& row : {Case{throw_int, "int"}, Case{throw_object, "NoStandardBase"},
                          Case{throw_literal, "char"}, Case{throw_string, "string"}}) {
    CAPTURE(row.type);
    CHECK_THROWS_AS(pool.apply(row.task, 0), libpool::TaskError);
    std::string type_name;
    try {
      pool.apply(row.task, 0);
    } catch (const libpool::RemoteOrigin& origin) {
      type_name = origin.type_name();
    }
    CHECK(type_name.find(row.type) != std::string::npos);
  }
}

TEST_CASE("a ThreadPool rethrows the original object") {
  ThreadPool pool(1);
  CHECK_THROWS_AS(pool.apply(throw_unregistered, 0), Unregistered);
  CHECK_THROWS_AS(pool.apply(throw_int, 0), int);
  CHECK_THROWS_AS(pool.map(throw_object, numbers(3)), NoStandardBase);
  CHECK_THROWS_AS(pool.apply_async(throw_string, 0).get(), std::string);
}

BOTH_POOLS("a text of one mebibyte is kept") {
  Pool pool(1);
  const auto error = caught<std::runtime_error>([&] { pool.apply(throw_huge_text, 0); });
  REQUIRE(error.has_value());
  CHECK(std::string(error->what()) == std::string(std::size_t{1} << 20, 'x'));
}

BOTH_POOLS("an empty text is kept") {
  Pool pool(1);
  const auto error = caught<std::runtime_error>([&] { pool.apply(throw_zeros, 0); });
  REQUIRE(error.has_value());
  CHECK(std::string(error->what()).empty());
}

BOTH_POOLS("a nested exception keeps its type and the texts of its causes") {
  Pool pool(1);
  std::string texts;
  try {
    pool.apply(throw_nested, 0);
  } catch (const std::logic_error& error) {
    texts = all_texts(error);
  }
  CHECK(texts.find("the outer text") != std::string::npos);
  CHECK(texts.find("the middle text") != std::string::npos);
  CHECK(texts.find("the innermost text") != std::string::npos);
}

BOTH_POOLS("of several failing items of one map the error of the lowest index is thrown") {
  Pool pool(2);
  for (std::size_t chunksize : {1U, 7U, 20U, 21U}) {
    CAPTURE(chunksize);
    const auto error = caught<std::out_of_range>(
        [&] { pool.map(throw_if_odd, numbers(20), {.chunksize = chunksize}); });
    REQUIRE(error.has_value());
    CHECK(std::string(error->what()) == "odd: 1");
  }
}

BOTH_POOLS("map throws after all items have finished") {
  oracle::Fresh fresh;
  Pool pool(2);
  CHECK_THROWS(pool.map(
      [](int x) {
        oracle::count_execution(x);
        if (x == 0) throw std::runtime_error("first");
        std::this_thread::sleep_for(1ms);
        oracle::count_execution(100 + x);
      },
      numbers(50), {.chunksize = 4}));
  CHECK(oracle::executed(50) == 50);
  CHECK(oracle::executed(150) == 50 + 49);
}

BOTH_POOLS("a thousand errors leave the pool as good as new") {
  Pool pool(2);
  const auto outcomes = pool.try_map(throw_if_odd, numbers(2000));
  int bad = 0;
  for (const auto& outcome : outcomes) bad += outcome ? 0 : 1;
  CHECK(bad == 1000);
  CHECK(pool.map(square, numbers(10)) == squares(10));
}

TEST_CASE("the index of an origin is the item's place in its batch") {
  ProcessPool pool(2);
  std::size_t index = 99;
  try {
    pool.map(throw_if_odd, std::vector<int>{0, 2, 4, 5, 6}, {.chunksize = 2});
  } catch (const libpool::RemoteOrigin& origin) {
    index = origin.index();
  }
  CHECK(index == 3);
}

BOTH_POOLS("an exception can be looked at by several threads") {
  Pool pool(1);
  auto handle = pool.apply_async(throw_if_odd, 1);
  handle.wait();
  std::atomic<int> seen = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back(
          [&] { seen += caught<std::out_of_range>([&] { handle.get(); }) ? 1 : 0; });
    }
  }
  CHECK(seen == 4);
}
