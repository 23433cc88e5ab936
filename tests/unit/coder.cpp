/// Facts about counts: a payload makes its reader reserve memory in proportion to itself, never to
/// what it claims.
#include <libpool/codec/coder.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <map>
#include <new>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <libpool/codec/codec.hpp>
#include <tests/support/oracle.hpp>
#include <tests/support/payload_buffer.hpp>

using namespace libpool::testing;
namespace codec = libpool::codec;

namespace {
std::size_t allocated = 0;  ///< bytes asked of `operator new` since it was set to zero
}  // namespace

// GCC sees one half of each pair below inlined where the other is not, and takes them for
// strangers.
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

// Every allocation of this program is counted, but under ThreadSanitizer, which forbids an
// `operator new` of the program's own: there the counts are zero, and the bounds hold without a
// meaning.
#ifndef ORACLE_THREAD_SANITIZED
void* operator new(std::size_t bytes) {
  allocated += bytes;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif

namespace {

struct Large {
  std::string a, b, c, d, e, f, g, h;
};
struct Branch {
  std::vector<Branch> children;
};

/// Decoding the payload is refused, and asks for at most `bound` bytes.
template <class T>
void check_refused_cheaply(const Bytes& bytes, std::size_t bound) {
  codec::PayloadReader in(bytes);
  allocated = 0;
  CHECK_THROWS_AS((void)codec::decode<T>(in), libpool::SerializationError);
  CHECK(allocated < bound);
}

/// A payload that begins with a count and goes on with zeros.
Bytes counted(std::uint64_t count, std::size_t bytes) {
  PayloadBuffer out;
  codec::encode(out, count);
  for (std::size_t i = 0; i < bytes; ++i) codec::encode(out, std::uint8_t{0});
  return out.bytes();
}

}  // namespace

TEST_CASE_TEMPLATE("a count beyond the payload reserves nothing", T, std::string, std::wstring,
                   std::vector<int>, std::vector<bool>, std::vector<std::string>,
                   std::vector<Large>, std::set<int>, std::map<int, std::string>,
                   std::unordered_set<int>, std::unordered_map<int, int>,
                   std::vector<std::vector<std::vector<int>>>) {
  constexpr auto most = std::numeric_limits<std::uint64_t>::max();
  constexpr std::size_t enough_for_the_error = 16 << 10;
  for (const std::uint64_t count :
       {std::uint64_t{1000}, std::uint64_t{1} << 32, std::uint64_t{1} << 61, most / 8, most / 4 + 1,
        most - 7, most}) {
    check_refused_cheaply<T>(counted(count, 100), enough_for_the_error);
  }
}

TEST_CASE("containers in containers cannot each claim the same bytes") {
  // Each level claims as many children as the rest of the payload could hold.
  constexpr std::size_t size = 64 * 1024;
  PayloadBuffer out;
  for (std::size_t level = 0; level < 900; ++level) {
    codec::encode(out, std::uint64_t{(size - out.position()) / 8 - 1});
  }
  while (out.position() < size) codec::encode(out, std::uint8_t{0});
  check_refused_cheaply<Branch>(out.bytes(), 16 * size);
}

TEST_CASE("what a full payload claims is reserved once") {
  Branch branch;
  branch.children.resize(1000);
  const Bytes bytes = encoded(branch);
  codec::PayloadReader in(bytes);
  allocated = 0;
  CHECK(codec::decode<Branch>(in).children.size() == 1000);
  CHECK(allocated == 1000 * sizeof(Branch));
}
