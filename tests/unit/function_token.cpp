/// Facts about function tokens: they name code that was there when the map was made, and no other.
#include <libpool/codec/function_token.hpp>

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include <libpool/errors.hpp>

using libpool::codec::FunctionToken;
using libpool::codec::ModuleMap;

namespace {

int twice(int value) { return 2 * value; }
int thrice(int value) { return 3 * value; }

template <class F>
const void* address(F* function) {
  return reinterpret_cast<const void*>(function);
}

/// A library that is everywhere zlib is, and that this program does not link.
class Library {
 public:
  Library() : handle_(::dlopen("libz.so.1", RTLD_NOW | RTLD_LOCAL)) { REQUIRE(handle_ != nullptr); }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() { close(); }
  [[nodiscard]] const void* function() const { return ::dlsym(handle_, "zlibVersion"); }
  void close() {
    if (handle_ != nullptr) ::dlclose(std::exchange(handle_, nullptr));
  }

 private:
  void* handle_;
};

}  // namespace

TEST_CASE("a token leads back to its function") {
  const ModuleMap map = ModuleMap::current();
  const FunctionToken token = map.token_of(address(&twice));
  CHECK(map.address_of(token) == address(&twice));
  CHECK(map.token_of(address(&thrice)) != token);
  CHECK(map.address_of(map.token_of(address(&thrice))) == address(&thrice));
  CHECK(map.address_of(map.token_of(address(&std::abort))) == address(&std::abort));
}

TEST_CASE("maps of the same modules give the same tokens") {
  CHECK(ModuleMap::current().token_of(address(&twice)) ==
        ModuleMap::current().token_of(address(&twice)));
}

TEST_CASE("what is no code of a module is refused") {
  const ModuleMap map = ModuleMap::current();
  const auto heap = std::make_unique<int>(0);
  CHECK_THROWS_AS((void)map.token_of(nullptr), libpool::PoolError);
  CHECK_THROWS_AS((void)map.token_of(heap.get()), libpool::PoolError);
  CHECK_THROWS_AS((void)map.token_of(&map), libpool::PoolError);
}

TEST_CASE("an unknown module or an offset outside its code leads nowhere") {
  const ModuleMap map = ModuleMap::current();
  FunctionToken token = map.token_of(address(&twice));
  token.offset += 1U << 30;
  CHECK(map.address_of(token) == nullptr);
  token.offset = ~0ULL;
  CHECK(map.address_of(token) == nullptr);
  token = map.token_of(address(&twice));
  token.module[0] ^= 1U;
  CHECK(map.address_of(token) == nullptr);
  CHECK(map.address_of(FunctionToken{}) == nullptr);
}

TEST_CASE("a library that was loaded later is refused") {
  const ModuleMap before = ModuleMap::current();
  const Library library;
  CHECK_THROWS_AS((void)before.token_of(library.function()), libpool::PoolError);
  const ModuleMap after = ModuleMap::current();
  CHECK(after.address_of(after.token_of(library.function())) == library.function());
}

TEST_CASE("a library that was unloaded is refused") {
  Library library;
  const ModuleMap map = ModuleMap::current();
  const void* function = library.function();
  (void)map.token_of(function);
  library.close();
  void* still_there = ::dlopen("libz.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (still_there != nullptr) {  // something else in this program keeps it
    ::dlclose(still_there);
    return;
  }
  CHECK_THROWS_AS((void)map.token_of(function), libpool::PoolError);
  CHECK_NOTHROW((void)map.token_of(address(&twice)));
}

TEST_CASE("tokens can be asked for while libraries come and go") {
  const ModuleMap map = ModuleMap::current();
  const FunctionToken token = map.token_of(address(&twice));
  std::atomic<bool> all_right = true;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 200; ++n) {
        if (map.token_of(address(&twice)) != token) all_right = false;
      }
    });
  }
  for (int n = 0; n < 20; ++n) const Library library;
  threads.clear();
  CHECK(all_right);
}
