/// Facts about exceptions between processes.
#include <libpool/codec/exception_codec.hpp>

#include <doctest/doctest.h>

#include <any>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <new>
#include <optional>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <typeinfo>
#include <variant>

#include <boost/serialization/string.hpp>

#include <libpool/codec/type_name.hpp>
#include <libpool/errors.hpp>
#include <tests/support/payload_buffer.hpp>

using libpool::RemoteOrigin;
using libpool::TaskError;
using libpool::testing::Bytes;
using libpool::testing::PayloadBuffer;

namespace {

Bytes record_of(const std::exception_ptr& error) {
  PayloadBuffer out;
  libpool::codec::encode_exception(out, error);
  return out.bytes();
}

std::exception_ptr sent(const std::exception_ptr& error) {
  const Bytes bytes = record_of(error);
  return libpool::codec::decode_exception(libpool::codec::PayloadReader(bytes), 4711, 12);
}

template <class E>
std::exception_ptr sent_error(const E& error) {
  return sent(std::make_exception_ptr(error));
}

/// What `throw_it` throws, sent, must arrive as an E with the same text; `check` sees it.
template <class E, class Throw, class Check>
void check_arrives(Throw throw_it, Check check) {
  std::string text;
  std::exception_ptr thrown;
  try {
    throw_it();
  } catch (const E& error) {
    text = error.what();
    thrown = std::current_exception();
  }
  REQUIRE(thrown != nullptr);
  try {
    std::rethrow_exception(sent(thrown));
  } catch (const E& error) {
    CHECK(error.what() == text);
    const auto* origin = dynamic_cast<const RemoteOrigin*>(&error);
    REQUIRE(origin != nullptr);
    CHECK(origin->pid() == 4711);
    CHECK(origin->index() == 12);
    check(error);
  }
}

template <class E>
void check_arrives_as_it_is(const E& error) {
  const std::string name = libpool::codec::type_name<E>();
  check_arrives<E>([&] { throw error; },
                   [&](const E& arrived) {
                     CHECK(dynamic_cast<const RemoteOrigin&>(arrived).type_name() == name);
                     // The one class of its kind: not a base of it, nor a class derived from it.
                     CHECK(dynamic_cast<const libpool::codec::Remote<E>*>(&arrived) != nullptr);
                   });
}

std::string what_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& caught) {
    return caught.what();
  }
}

std::string type_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const RemoteOrigin& origin) {
    return origin.type_name();
  }
}

struct Unregistered : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Prefixing : std::runtime_error {
  explicit Prefixing(const std::string& text) : std::runtime_error("prefix " + text) {}
};

class WithMembers : public std::exception {
 public:
  WithMembers() = default;
  WithMembers(int number, std::string text) : number_(number), text_(std::move(text)) {}
  [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }
  [[nodiscard]] int number() const { return number_; }

 private:
  friend class boost::serialization::access;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & number_ & text_;
  }
  int number_ = 0;
  std::string text_;
};

struct NoException {
  int code = 0;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & code;
  }
};

struct Unwilling : std::runtime_error {
  explicit Unwilling(const std::string& text) : std::runtime_error(text) {}
  template <class Archive>
  void serialize(Archive&, unsigned) {
    throw std::logic_error("not me");
  }
};

class OtherCategory : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "other"; }
  [[nodiscard]] std::string message(int) const override { return "odd"; }
};

}  // namespace

TEST_CASE("standard exceptions arrive as their own type with their own text") {
  check_arrives_as_it_is(std::logic_error("a"));
  check_arrives_as_it_is(std::invalid_argument("b"));
  check_arrives_as_it_is(std::domain_error("c"));
  check_arrives_as_it_is(std::length_error("d"));
  check_arrives_as_it_is(std::out_of_range("e"));
  check_arrives_as_it_is(std::runtime_error("f"));
  check_arrives_as_it_is(std::range_error("g"));
  check_arrives_as_it_is(std::overflow_error("h"));
  check_arrives_as_it_is(std::underflow_error(""));
  check_arrives_as_it_is(std::exception());
  check_arrives_as_it_is(std::bad_exception());
  check_arrives_as_it_is(std::bad_alloc());
  check_arrives_as_it_is(std::bad_array_new_length());
  check_arrives_as_it_is(std::bad_cast());
  check_arrives_as_it_is(std::bad_typeid());
  check_arrives_as_it_is(std::bad_any_cast());
  check_arrives_as_it_is(std::bad_variant_access());
  check_arrives_as_it_is(std::bad_optional_access());
  check_arrives_as_it_is(std::bad_function_call());
  check_arrives_as_it_is(std::bad_weak_ptr());
}

TEST_CASE("exceptions that the library throws through private classes arrive as the public ones") {
  check_arrives<std::ios_base::failure>(
      [] {
        std::istringstream stream;
        stream.exceptions(std::ios::failbit);
        int number = 0;
        stream >> number;
      },
      [](const std::ios_base::failure& error) { CHECK(error.code() == std::io_errc::stream); });
  check_arrives<std::bad_any_cast>([] { (void)std::any_cast<int>(std::any(1.0)); },
                                   [](const auto&) {});
}

TEST_CASE("error codes keep their value and category") {
  check_arrives<std::system_error>(
      [] { throw std::system_error(ENOENT, std::generic_category(), "opening"); },
      [](const std::system_error& error) {
        CHECK(error.code() == std::errc::no_such_file_or_directory);
        const std::system_error sliced = error;
        CHECK(std::string(sliced.what()) == error.what());
      });
  check_arrives<std::system_error>([] { throw std::system_error(EAGAIN, std::system_category()); },
                                   [](const std::system_error& error) {
                                     CHECK(error.code().category() == std::system_category());
                                     CHECK(error.code().value() == EAGAIN);
                                   });
  check_arrives<std::ios_base::failure>(
      [] { throw std::ios_base::failure("reading"); },
      [](const std::ios_base::failure& error) { CHECK(error.code() == std::io_errc::stream); });
  check_arrives<std::future_error>(
      [] { throw std::future_error(std::future_errc::broken_promise); },
      [](const std::future_error& error) {
        CHECK(error.code() == std::future_errc::broken_promise);
      });
  check_arrives<std::regex_error>([] { std::regex("("); },
                                  [](const std::regex_error& error) {
                                    CHECK(error.code() == std::regex_constants::error_paren);
                                  });
  check_arrives<std::filesystem::filesystem_error>(
      [] { std::filesystem::rename("/nowhere/a", "/nowhere/b"); },
      [](const std::filesystem::filesystem_error& error) {
        CHECK(error.code() == std::errc::no_such_file_or_directory);
        CHECK(error.path1() == "/nowhere/a");
        CHECK(error.path2() == "/nowhere/b");
      });
}

TEST_CASE("a foreign error category keeps its name and is one category") {
  static const OtherCategory other;
  const auto first = sent_error(std::system_error(5, other, "x"));
  const auto second = sent_error(std::system_error(5, other, "y"));
  try {
    std::rethrow_exception(first);
  } catch (const std::system_error& a) {
    CHECK(std::string(a.what()) == "x: odd");
    CHECK(std::string(a.code().category().name()) == "other");
    try {
      std::rethrow_exception(second);
    } catch (const std::system_error& b) {
      CHECK(a.code() == b.code());
    }
  }
}

TEST_CASE("a registered error category arrives as itself, also if its name came before") {
  struct Registered : std::error_category {
    [[nodiscard]] const char* name() const noexcept override { return "registered"; }
    [[nodiscard]] std::string message(int) const override { return "odd"; }
  };
  static const Registered category;
  const std::error_code code(5, category);
  const auto arrives_equal = [&] {
    try {
      std::rethrow_exception(sent_error(std::system_error(code, "x")));
    } catch (const std::system_error& error) {
      CHECK(std::string(error.what()) == "x: odd");
      return error.code() == code;
    }
  };
  CHECK_FALSE(arrives_equal());
  libpool::register_error_category(category);
  libpool::register_error_category(category);
  CHECK(arrives_equal());
}

TEST_CASE("the library's own errors arrive with what they carry") {
  using namespace libpool;
  check_arrives_as_it_is(PoolError("a"));
  check_arrives_as_it_is(TaskError("b"));
  check_arrives_as_it_is(TaskCancelled());
  check_arrives_as_it_is(PoolClosed("closed"));
  check_arrives_as_it_is(PoolTerminated());
  check_arrives_as_it_is(TimeoutError());
  check_arrives<WorkerCrashed>([] { throw WorkerCrashed("crash", 99, 11, std::nullopt, 4); },
                               [](const WorkerCrashed& error) {
                                 CHECK(error.pid() == 99);
                                 CHECK(error.signal() == 11);
                                 CHECK(!error.exit_status());
                                 CHECK(error.index() == 4);
                               });
  check_arrives<TaskTimeout>([] { throw TaskTimeout("late", 3); },
                             [](const TaskTimeout& error) { CHECK(error.index() == 3); });
  check_arrives<SerializationError>(
      [] { throw SerializationError("no", "Type"); },
      [](const SerializationError& error) { CHECK(error.type_name() == "Type"); });
  check_arrives<PoolBroken>(
      [] { throw PoolBroken("broken", std::make_exception_ptr(std::out_of_range("cause"))); },
      [](const PoolBroken& error) { CHECK(what_of(error.cause()) == "cause"); });
}

TEST_CASE("a text of any size arrives whole") {
  const std::string large(5'000'000, 'x');
  CHECK(what_of(sent_error(std::runtime_error(large))) == large);
}

TEST_CASE("anything else arrives as a TaskError with its text and its type's name") {
  const auto error = sent_error(Unregistered("text"));
  CHECK_THROWS_AS(std::rethrow_exception(error), TaskError);
  CHECK(what_of(error) == "text");
  CHECK(type_of(error).find("Unregistered") != std::string::npos);
}

TEST_CASE("objects that are no exceptions arrive as a TaskError that names type and value") {
  CHECK(what_of(sent_error(42)) == "int: 42");
  CHECK(what_of(sent_error(7UL)) == "unsigned long: 7");
  CHECK(what_of(sent_error(true)) == "bool: true");
  CHECK(what_of(sent_error(1.5)) == "double: 1.5");
  CHECK(what_of(sent_error("text")) == "char const*: text");
  CHECK(what_of(sent_error(std::string("text"))).ends_with(": text"));
  CHECK(what_of(sent_error(NoException{})).find("NoException") != std::string::npos);
  CHECK(type_of(sent_error(42)) == "int");
  CHECK_THROWS_AS(std::rethrow_exception(sent_error(42)), TaskError);
}

TEST_CASE("registered exceptions arrive as their own type") {
  libpool::register_exception<Prefixing>();
  libpool::register_exception<Prefixing>();
  libpool::register_exception<WithMembers>();
  check_arrives_as_it_is(Prefixing("text"));
  check_arrives<WithMembers>([] { throw WithMembers(7, "seven"); },
                             [](const WithMembers& error) { CHECK(error.number() == 7); });
}

TEST_CASE("a registered class that is no std::exception arrives as itself") {
  libpool::register_exception<NoException>();
  try {
    std::rethrow_exception(sent_error(NoException{.code = 9}));
  } catch (const NoException& error) {
    CHECK(error.code == 9);
  }
}

TEST_CASE("a registered exception whose serialize throws arrives as a TaskError") {
  libpool::register_exception<Unwilling>();
  const auto error = sent_error(Unwilling("text"));
  CHECK_THROWS_AS(std::rethrow_exception(error), TaskError);
  CHECK(what_of(error) == "text");
}

TEST_CASE("nested causes can be walked") {
  std::exception_ptr thrown;
  try {
    try {
      try {
        throw Unregistered("inner");
      } catch (...) {
        std::throw_with_nested(std::out_of_range("middle"));
      }
    } catch (...) {
      std::throw_with_nested(std::runtime_error("outer"));
    }
  } catch (...) {
    thrown = std::current_exception();
  }
  const auto arrived = sent(thrown);
  CHECK(type_of(arrived) == "std::runtime_error");
  try {
    std::rethrow_exception(arrived);
  } catch (const std::runtime_error& outer) {
    CHECK(std::string(outer.what()) == "outer");
    try {
      std::rethrow_if_nested(outer);
      FAIL("no cause");
    } catch (const std::out_of_range& middle) {
      CHECK(std::string(middle.what()) == "middle");
      try {
        std::rethrow_if_nested(middle);
        FAIL("no cause");
      } catch (const TaskError& inner) {
        CHECK(std::string(inner.what()) == "inner");
        CHECK_NOTHROW(std::rethrow_if_nested(inner));
      }
    }
  }
}

TEST_CASE("an unregistered exception with a cause arrives as a TaskError with one") {
  std::exception_ptr thrown;
  try {
    try {
      throw 1;
    } catch (...) {
      std::throw_with_nested(Unregistered("outer"));
    }
  } catch (...) {
    thrown = std::current_exception();
  }
  try {
    std::rethrow_exception(sent(thrown));
  } catch (const TaskError& error) {
    CHECK(std::string(error.what()) == "outer");
    CHECK_THROWS_AS(std::rethrow_if_nested(error), TaskError);
  }
}

TEST_CASE("an exception that arrived can be sent on, as from a pool inside a worker") {
  const auto twice = sent(sent_error(std::out_of_range("far")));
  CHECK_THROWS_AS(std::rethrow_exception(twice), std::out_of_range);
  CHECK(type_of(twice) == "std::out_of_range");
  CHECK(type_of(sent(sent_error(42))) == "int");
  CHECK(what_of(sent(sent_error(42))) == "int: 42");
}

TEST_CASE("causes beyond the bound are left out") {
  std::exception_ptr error = std::make_exception_ptr(std::runtime_error("innermost"));
  for (int i = 0; i < 200; ++i) {
    try {
      std::rethrow_exception(error);
    } catch (...) {
      try {
        std::throw_with_nested(std::runtime_error("level"));
      } catch (...) {
        error = std::current_exception();
      }
    }
  }
  CHECK(what_of(sent(error)) == "level");
}

TEST_CASE("a record that lacks bytes is a SerializationError") {
  const Bytes bytes =
      record_of(std::make_exception_ptr(std::system_error(1, std::generic_category(), "x")));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Bytes cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    const auto error = libpool::codec::decode_exception(libpool::codec::PayloadReader(cut), 1, 1);
    CHECK_THROWS_AS(std::rethrow_exception(error), libpool::SerializationError);
  }
}

TEST_CASE("a damaged record gives some exception") {
  Bytes bytes =
      record_of(std::make_exception_ptr(std::regex_error(std::regex_constants::error_brack)));
  for (std::byte& byte : bytes) {
    const std::byte kept = std::exchange(byte, byte ^ std::byte{0xff});
    CHECK(libpool::codec::decode_exception(libpool::codec::PayloadReader(bytes), 1, 1) != nullptr);
    byte = kept;
  }
}
