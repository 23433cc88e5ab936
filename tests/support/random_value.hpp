/// Random values of every type that can travel, for property tests.
///
/// Runs in the test's own process; the seed is fixed, so that a failure comes again.
#pragma once

#include <array>
#include <bitset>
#include <chrono>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace libpool::testing {

/// Small containers, but now and then an empty one; numbers of all magnitudes and their limits.
class Random {
 public:
  explicit Random(std::uint64_t seed = 1) : engine_(seed) {}

  [[nodiscard]] std::uint64_t bits() { return engine_(); }
  [[nodiscard]] std::size_t below(std::size_t bound) { return bits() % bound; }

  template <class T>
  [[nodiscard]] T make();

 private:
  std::mt19937_64 engine_;
};

template <class T>
struct RandomValue {
  static T make(Random& random)
    requires std::is_integral_v<T>
  {
    if (random.below(8) == 0) return std::numeric_limits<T>::max();
    if (random.below(8) == 0) return std::numeric_limits<T>::min();
    return static_cast<T>(random.bits() >> random.below(64));
  }
  static T make(Random& random)
    requires std::is_floating_point_v<T>
  {
    if (random.below(8) == 0) return std::numeric_limits<T>::infinity();
    return static_cast<T>(random.make<std::int32_t>()) / 16;
  }
  static T make(Random& random)
    requires std::is_enum_v<T>
  {
    return static_cast<T>(random.make<std::underlying_type_t<T>>());
  }
  /// A class of the test's own.
  static T make(Random& random)
    requires requires { T::random(random); }
  {
    return T::random(random);
  }
  /// A sequence.
  static T make(Random& random)
    requires requires(T& c, typename T::value_type v) { c.insert(c.end(), std::move(v)); } &&
             (!requires { typename T::key_type; })
  {
    T made;
    for (std::size_t i = random.below(6); i > 0; --i) {
      made.insert(made.end(), random.make<typename T::value_type>());
    }
    return made;
  }
  static T make(Random& random)
    requires requires(T& c, typename T::value_type v) { c.push_front(std::move(v)); } &&
             (!requires(T& c) { c.size(); })
  {
    T made;
    for (std::size_t i = random.below(6); i > 0; --i) {
      made.push_front(random.make<typename T::value_type>());
    }
    return made;
  }
  /// A set.
  static T make(Random& random)
    requires requires { typename T::key_type; } && (!requires { typename T::mapped_type; })
  {
    T made;
    for (std::size_t i = random.below(6); i > 0; --i)
      made.insert(random.make<typename T::key_type>());
    return made;
  }
  /// A map.
  static T make(Random& random)
    requires requires { typename T::mapped_type; }
  {
    T made;
    for (std::size_t i = random.below(6); i > 0; --i) {
      made.emplace(random.make<typename T::key_type>(), random.make<typename T::mapped_type>());
    }
    return made;
  }
};

template <class T>
T Random::make() {
  return RandomValue<T>::make(*this);
}

template <>
struct RandomValue<bool> {
  static bool make(Random& random) { return random.below(2) == 1; }
};
template <class T>
struct RandomValue<std::complex<T>> {
  static std::complex<T> make(Random& random) { return {random.make<T>(), random.make<T>()}; }
};
template <std::size_t N>
struct RandomValue<std::bitset<N>> {
  static std::bitset<N> make(Random& random) { return std::bitset<N>(random.bits()); }
};
template <class Rep, class Period>
struct RandomValue<std::chrono::duration<Rep, Period>> {
  static auto make(Random& random) {
    return std::chrono::duration<Rep, Period>(random.make<Rep>());
  }
};
template <class Clock, class Duration>
struct RandomValue<std::chrono::time_point<Clock, Duration>> {
  static auto make(Random& random) {
    return std::chrono::time_point<Clock, Duration>(random.make<Duration>());
  }
};
template <class T, std::size_t N>
struct RandomValue<std::array<T, N>> {
  static std::array<T, N> make(Random& random) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return std::array<T, N>{((void)I, random.make<T>())...};
    }(std::make_index_sequence<N>{});
  }
};
template <class A, class B>
struct RandomValue<std::pair<A, B>> {
  static std::pair<A, B> make(Random& random) { return {random.make<A>(), random.make<B>()}; }
};
template <class... T>
struct RandomValue<std::tuple<T...>> {
  static std::tuple<T...> make(Random& random) { return std::tuple<T...>{random.make<T>()...}; }
};
template <class T>
struct RandomValue<std::optional<T>> {
  static std::optional<T> make(Random& random) {
    return random.below(2) == 0 ? std::nullopt : std::optional<T>(random.make<T>());
  }
};
template <class... T>
struct RandomValue<std::variant<T...>> {
  static std::variant<T...> make(Random& random) {
    const std::size_t index = random.below(sizeof...(T));
    std::variant<T...> made{std::in_place_index<0>,
                            random.make<std::tuple_element_t<0, std::tuple<T...>>>()};
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      ((index == I ? (void)made.template emplace<I>(random.make<T>()) : (void)0), ...);
    }(std::index_sequence_for<T...>{});
    return made;
  }
};
template <>
struct RandomValue<std::monostate> {
  static std::monostate make(Random&) { return {}; }
};
template <>
struct RandomValue<std::filesystem::path> {
  static std::filesystem::path make(Random& random) {
    return "/" + std::to_string(random.bits()) + "/" + std::to_string(random.below(10));
  }
};
template <class T>
struct RandomValue<std::unique_ptr<T>> {
  static std::unique_ptr<T> make(Random& random) {
    return random.below(4) == 0 ? nullptr : std::make_unique<T>(random.make<T>());
  }
};
template <class T>
struct RandomValue<std::shared_ptr<T>> {
  static std::shared_ptr<T> make(Random& random) {
    return random.below(4) == 0 ? nullptr : std::make_shared<T>(random.make<T>());
  }
};

}  // namespace libpool::testing
