/// Contract: scalars, strings, vocabulary types and sizes of values that travel.
///
/// Runs in the test; the tasks run in workers of both pools.
#include "values.hpp"

#include <bitset>
#include <chrono>
#include <cmath>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <variant>

using namespace contract;

namespace {

enum Colour { red, green = 1000 };
enum class Wide : std::uint64_t { big = 0xFFFF'FFFF'FFFF'FFFF };

std::size_t size_of_bytes(const std::vector<std::byte>& bytes) { return bytes.size(); }
std::vector<std::byte> bytes_of_size(std::size_t size) {
  return std::vector<std::byte>(size, std::byte{0x5A});
}
int behind(const std::shared_ptr<int>& pointer) { return pointer ? *pointer : -1; }
int behind_unique(const std::unique_ptr<int>& pointer) { return pointer ? *pointer : -1; }

}  // namespace

BOTH_POOLS("integers travel to their limits") {
  Pool pool(1);
  check_travels(pool, std::numeric_limits<signed char>::min());
  check_travels(pool, std::numeric_limits<std::int16_t>::min());
  check_travels(pool, std::numeric_limits<std::int32_t>::min());
  check_travels(pool, std::numeric_limits<std::int64_t>::min());
  check_travels(pool, std::numeric_limits<std::uint64_t>::max());
}

BOTH_POOLS("characters and booleans travel") {
  Pool pool(1);
  check_travels(pool, 'x');
  check_travels(pool, L'\u20AC');
  check_travels(pool, U'\U0001F600');
  CHECK(pool.apply(identity<bool>, true));
  CHECK_FALSE(pool.apply(identity<bool>, false));
}

BOTH_POOLS("floating-point numbers travel bit by bit") {
  Pool pool(1);
  check_travels(pool, 0.1);
  check_travels(pool, 0.1F);
  check_travels(pool, std::numeric_limits<long double>::max());
  check_travels(pool, std::numeric_limits<double>::infinity());
  check_travels(pool, std::numeric_limits<double>::denorm_min());
  const double nan = pool.apply(identity<double>, std::numeric_limits<double>::quiet_NaN());
  CHECK(nan != nan);
  CHECK(std::signbit(pool.apply(identity<double>, -0.0)));
}

BOTH_POOLS("enumerations travel") {
  Pool pool(1);
  check_travels(pool, green);
  check_travels(pool, Wide::big);
}

BOTH_POOLS("strings travel with every byte") {
  Pool pool(1);
  std::string all;
  for (int c = 0; c < 256; ++c) all.push_back(static_cast<char>(c));
  check_travels(pool, all);
  check_travels(pool, std::string());
  check_travels(pool, std::string(100'000, 'x'));
  check_travels(pool, std::wstring(L"wide \u20AC"));
  check_travels(pool, std::u16string(u"sixteen"));
  check_travels(pool, std::u32string(U"thirty-two"));
}

BOTH_POOLS("buffers of bytes travel") {
  Pool pool(1);
  check_travels(pool, std::byte{0xFF});
  check_travels(pool, std::vector<std::byte>(1000, std::byte{7}));
  check_travels(pool, std::vector<std::byte>{});
  check_travels(pool, std::vector<unsigned char>(1000, 7));
}

BOTH_POOLS("pairs and tuples travel") {
  Pool pool(1);
  check_travels(pool, std::pair(1, std::string("two")));
  check_travels(pool, std::tuple(1, std::string("two"), 3.0));
  check_travels(pool, std::tuple<>());
}

BOTH_POOLS("optionals travel, empty and not") {
  Pool pool(1);
  check_travels(pool, std::optional<int>());
  check_travels(pool, std::optional<int>(5));
  check_travels(pool, std::optional<std::string>("five"));
  check_travels(pool, std::optional<std::optional<int>>(std::optional<int>()));
}

BOTH_POOLS("variants travel with each alternative") {
  Pool pool(1);
  using Any = std::variant<std::monostate, int, std::string>;
  check_travels(pool, Any());
  check_travels(pool, Any(5));
  check_travels(pool, Any("five"));
}

BOTH_POOLS("a variant of equal alternatives keeps its index") {
  Pool pool(1);
  using Twice = std::variant<int, int>;
  CHECK(pool.apply(identity<Twice>, Twice(std::in_place_index<1>, 5)).index() == 1);
}

BOTH_POOLS("monostate travels") {
  Pool pool(1);
  check_travels(pool, std::monostate());
}

BOTH_POOLS("unique pointers travel, null and not") {
  Pool pool(1);
  CHECK(pool.apply(behind_unique, std::make_unique<int>(5)) == 5);
  CHECK(pool.apply(behind_unique, std::unique_ptr<int>()) == -1);
  CHECK(pool.apply([](int) { return std::unique_ptr<int>(); }, 0) == nullptr);
  CHECK(*pool.apply(
            [](int x) {
              return std::make_unique<std::string>(std::string(static_cast<std::size_t>(x), 'x'));
            },
            3) == "xxx");
}

BOTH_POOLS("shared pointers travel, null and not") {
  Pool pool(1);
  CHECK(pool.apply(behind, std::make_shared<int>(5)) == 5);
  CHECK(pool.apply(behind, std::shared_ptr<int>()) == -1);
  CHECK(*pool.apply([](int x) { return std::make_shared<int>(x); }, 3) == 3);
}

BOTH_POOLS("shared pointers to one object within one value still share it") {
  Pool pool(1);
  const auto shared = std::make_shared<int>(5);
  const std::vector<std::shared_ptr<int>> both{shared, shared};
  CHECK(pool.apply(
      [](const std::vector<std::shared_ptr<int>>& v) { return v[0] == v[1] && *v[0] == 5; }, both));
}

BOTH_POOLS("durations and time points travel") {
  Pool pool(1);
  check_travels(pool, 5ns);
  check_travels(pool, -90min);
  check_travels(pool, std::chrono::duration<double>(0.25));
  check_travels(pool, std::chrono::steady_clock::now());
  check_travels(pool, std::chrono::system_clock::time_point(12345s));
  check_travels(pool, std::chrono::sys_days(std::chrono::year(2024) / 2 / 29));
}

BOTH_POOLS("complex numbers travel") {
  Pool pool(1);
  check_travels(pool, std::complex<double>(1, -2));
  check_travels(pool, std::complex<float>(0.5F, 0));
}

BOTH_POOLS("bitsets travel") {
  Pool pool(1);
  std::bitset<200> bits;
  bits.set(0).set(63).set(64).set(199);
  check_travels(pool, bits);
  check_travels(pool, std::bitset<0>());
}

BOTH_POOLS("paths travel") {
  Pool pool(1);
  check_travels(pool, std::filesystem::path("/usr/include"));
  check_travels(pool, std::filesystem::path());
  check_travels(pool, std::filesystem::path("a b\n\xFF"));
}

BOTH_POOLS("payloads of every size around the bounds travel both ways") {
  constexpr std::size_t ring = std::size_t{64} << 10;
  constexpr std::size_t quarter = std::size_t{1} << 18;
  Pool pool(2, {.task_memory = std::size_t{1} << 20, .result_ring = ring});
  for (std::size_t around :
       {std::size_t{1}, std::size_t{4096}, ring, 2 * ring, quarter, 4 * quarter}) {
    for (std::size_t size = around < 100 ? 0 : around - 65; size <= around + 65;
         size += size + 8 < around ? 8 : 1) {
      CAPTURE(size);
      REQUIRE(pool.apply(size_of_bytes, bytes_of_size(size)) == size);
      REQUIRE(pool.apply(bytes_of_size, size) == bytes_of_size(size));
    }
  }
}

BOTH_POOLS("many large payloads are in flight at once") {
  Pool pool(2, {.task_memory = std::size_t{1} << 20});
  const std::vector<std::vector<std::byte>> blocks(60, bytes_of_size(std::size_t{1} << 20));
  const auto back = pool.map(identity<std::vector<std::byte>>, blocks, {.chunksize = 1});
  CHECK(back == blocks);
}

BOTH_POOLS("large and small results take turns in one ring") {
  Pool pool(2, {.result_ring = 4096});
  const auto results = pool.map(
      [](int i) { return std::string(static_cast<std::size_t>(i % 3 == 0 ? 20'000 : i), 'x'); },
      numbers(300), {.chunksize = 10});
  for (int i = 0; i < 300; ++i) {
    REQUIRE(results[static_cast<std::size_t>(i)].size() ==
            static_cast<std::size_t>(i % 3 == 0 ? 20'000 : i));
  }
}
