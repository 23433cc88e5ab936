/// Facts about functions known at compile time: parameters, travelling types, results.
#include <libpool/detail/callable.hpp>

#include <doctest/doctest.h>

#include <any>
#include <array>
#include <memory>

using namespace libpool::detail;

namespace {

[[maybe_unused]] int plain(int, std::string) { return 0; }  // used as a type only
struct Constant {
  double operator()(const std::vector<int>&) const noexcept { return 0; }
};
struct Overloaded {
  int operator()(int) const { return 0; }
  long operator()(const std::string&) const { return 0; }
};
struct Base {
  virtual ~Base() = default;
  virtual int value() const = 0;
};
struct Derived : Base {
  int value() const override { return 1; }
};
struct Member {
  int name;
  int read(int) const { return 0; }
};

template <class F, class Arg>
using first_t = passed_t<F, 0, Arg>;

template <class F, class... Received>
using result_t = typename TaskCall<F, std::tuple<Received...>>::Result;

template <class F, class Arg, bool moves>
using first_received_t = received_t<F, 0, Arg, moves>;

}  // namespace

TEST_CASE("parameters are known of functions and of call operators that are not overloaded") {
  CHECK(std::same_as<callable_parameters<decltype(&plain)>, std::tuple<int, std::string>>);
  CHECK(std::same_as<callable_parameters<decltype(plain)>, std::tuple<int, std::string>>);
  CHECK(std::same_as<callable_parameters<Constant>, std::tuple<const std::vector<int>&>>);
  auto mutable_lambda = [](int) mutable {};
  CHECK(std::same_as<callable_parameters<decltype(mutable_lambda)>, std::tuple<int>>);
}

TEST_CASE("parameters are unknown of generic and overloaded call operators and of members") {
  auto generic = [](const auto&) {};
  CHECK(std::is_void_v<callable_parameters<decltype(generic)>>);
  CHECK(std::is_void_v<callable_parameters<Overloaded>>);
  CHECK(std::is_void_v<callable_parameters<decltype(&Member::read)>>);
  CHECK(std::is_void_v<callable_parameters<decltype(&Member::name)>>);
}

TEST_CASE("an argument travels as the parameter's type where that is known") {
  CHECK(std::same_as<first_t<double (*)(double), int>, double>);
  CHECK(std::same_as<first_t<int (*)(const std::string&), const char(&)[4]>, std::string>);
  CHECK(std::same_as<first_t<int (*)(std::any), int>, std::any>);
}

TEST_CASE("a view parameter gets an owner of what it shows") {
  CHECK(std::same_as<first_t<int (*)(std::string_view), const char*>, std::string>);
  CHECK(std::same_as<first_t<int (*)(std::span<const int>), std::vector<int>&>, std::vector<int>>);
  CHECK(std::same_as<first_t<int (*)(std::span<const int>), std::array<int, 3>>, std::vector<int>>);
  CHECK(std::same_as<first_t<int (*)(std::span<const int>), std::span<int>>, std::vector<int>>);
}

TEST_CASE("text travels as a string to an unknown parameter") {
  CHECK(std::same_as<first_t<Overloaded, const char(&)[4]>, std::string>);
  CHECK(std::same_as<first_t<Overloaded, char*>, std::string>);
  CHECK(std::same_as<first_t<Overloaded, std::string_view&>, std::string>);
  CHECK(std::same_as<first_t<Overloaded, const wchar_t*>, std::wstring>);
  CHECK(std::same_as<first_t<Overloaded, const int&>, int>);
}

TEST_CASE("a derived object is not sliced to its base") {
  CHECK(std::same_as<first_t<int (*)(const Base&), const Derived&>, Derived>);
}

TEST_CASE("an argument that does not convert travels as itself") {
  CHECK(std::same_as<first_t<int (*)(int), std::string>, std::string>);
  CHECK(std::same_as<first_t<int (*)(const char*), std::string>, std::string>);
}

TEST_CASE("arguments are converted as in a call, and copied into owners") {
  CHECK(convert_argument<double>(3) == 3.0);
  CHECK(convert_argument<std::string>("abc") == "abc");
  const std::array<int, 3> array{1, 2, 3};
  CHECK(convert_argument<std::vector<int>>(array) == std::vector<int>{1, 2, 3});
  const std::string same = "same";
  CHECK(&convert_argument<std::string>(same) == &same);
}

TEST_CASE("a function receives const lvalues, and rvalues of what is moved or converted") {
  using Text = int (*)(std::string&&);
  CHECK(std::same_as<first_received_t<Text, std::string&, false>, const std::string&>);
  CHECK(std::same_as<first_received_t<Text, std::string, true>, std::string&&>);
  CHECK(std::same_as<first_received_t<Text, const char(&)[4], false>, std::string&&>);
  CHECK(std::same_as<first_received_t<int (*)(double), int&, false>, double&&>);
  CHECK(std::same_as<first_received_t<Overloaded, const char(&)[4], false>, const std::string&>);
}

TEST_CASE("a result is decayed") {
  CHECK(std::same_as<result_t<int (*)(int), const int&>, int>);
  CHECK(std::same_as<result_t<const std::string (*)(int), const int&>, std::string>);
  CHECK(std::is_void_v<result_t<void (*)(int), const int&>>);
}

TEST_CASE("a call that does not compile has no result") {
  auto takes_reference = [](int&) { return 1; };
  CHECK(std::same_as<result_t<decltype(takes_reference), const int&>, NotCallable>);
  CHECK(std::same_as<result_t<decltype(takes_reference), int&&>, NotCallable>);
  auto takes_rvalue = [](std::string&&) { return 1; };
  CHECK(std::same_as<result_t<decltype(takes_rvalue), const std::string&>, NotCallable>);
  CHECK(std::same_as<result_t<decltype(takes_rvalue), std::string&&>, int>);
}

TEST_CASE("a function is called as const where it can be") {
  auto constant = [](int) { return 1; };
  auto counting = [n = 0](int) mutable { return ++n; };
  CHECK(TaskCall<decltype(constant), std::tuple<const int&>>::constant);
  CHECK_FALSE(TaskCall<decltype(counting), std::tuple<const int&>>::constant);
  CHECK(TaskCall<decltype(counting), std::tuple<const int&>>::valid);
}
