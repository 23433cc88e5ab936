/// Facts about the stores of calls with one outcome.
#include <libpool/detail/result_stores.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include <tests/support/fake_core.hpp>
#include <tests/support/oracle.hpp>

using namespace libpool::detail;
using namespace libpool::testing;

namespace {

Batch::Terms terms() { return {.feeding = Feeding::by_caller}; }
ChunkRule chunks_of(std::size_t items) { return {.chunksize = items, .items = {}, .workers = 2}; }

}  // namespace

TEST_CASE("the error of the lowest index is the outcome of a map, whichever came first") {
  const Attached<VectorStore<int>> store(terms(), chunks_of(4));
  store.pull();
  store->fail(2, error_of("two"));
  store->fail(1, error_of("one"));
  store->fail(3, error_of("three"));
  store->end_input(error_of("input"));
  CHECK_FALSE(store->done());
  store->store(0, 0);
  CHECK_THROWS_WITH(static_cast<void>(store->value()), "one");
}

TEST_CASE("the input's error comes after all items before it") {
  const Attached<VectorStore<int>> store(terms(), chunks_of(1));
  store.pull();
  store->end_input(error_of("input"));
  CHECK_FALSE(store->done());
  store->store(0, 0);
  CHECK_THROWS_WITH(static_cast<void>(store->value()), "input");
}

TEST_CASE("chunks have the size that was asked for, or the automatic one") {
  const Attached<VectorStore<int>> asked(terms(), chunks_of(7));
  CHECK(asked->next_chunk(asked->pulled(), 1) == 7);
  const Attached<VectorStore<int>> sized(terms(),
                                         ChunkRule{.chunksize = {}, .items = 100, .workers = 4});
  CHECK(sized->next_chunk(sized->pulled(), 1) == 7);
  const Attached<VectorStore<int>> unsized(terms(),
                                           ChunkRule{.chunksize = {}, .items = {}, .workers = 1});
  CHECK(unsized.pull() == 1);
  for (int i = 0; i < 40; ++i) unsized.pull();
  CHECK(unsized->next_chunk(unsized->pulled(), 1) > 10);
}

TEST_CASE("bundles are for items that are chunks by themselves") {
  Batch::Terms singly = terms();
  singly.singly = true;
  const Attached<VectorStore<int>> store(singly, chunks_of(1));
  CHECK(store->next_chunk(0, 8) == 8);
  const Attached<VectorStore<int>> other(terms(), chunks_of(7));
  CHECK(other->next_chunk(0, 8) == 7);
}

TEST_CASE("room is made for what the input can give, not for the chunk size that was asked for") {
  constexpr std::size_t all = static_cast<std::size_t>(-1);
  const Attached<VectorStore<std::string>> sized(
      terms(), ChunkRule{.chunksize = all, .items = 500'000, .workers = 1});
  CHECK(sized->next_chunk(sized->pulled(), 1) == 500'000);
  const Attached<VectorStore<std::string>> unsized(terms(), chunks_of(all));
  CHECK(unsized->next_chunk(unsized->pulled(), 1) == std::size_t{1} << 18);
}

TEST_CASE("an input may give more than it claimed") {
  const Attached<VectorStore<int>> store(terms(),
                                         ChunkRule{.chunksize = 1, .items = 2, .workers = 1});
  for (int i = 0; i < 5000; ++i) {
    REQUIRE(store.pull() == 1);
    store->store(static_cast<std::size_t>(i), int{i});
  }
  store->end_input(nullptr);
  CHECK(store->value().size() == 5000);
  CHECK(store->value()[4999] == 4999);
}

TEST_CASE("a claim that no memory can hold is not believed") {
  const Attached<VectorStore<int>> store(
      terms(), ChunkRule{.chunksize = {}, .items = std::size_t{1} << 62, .workers = 1});
  REQUIRE(store->next_chunk(store->pulled(), 1) >= 1);
  store->pulled(1);
  store->store(0, 5);
  store->end_input(nullptr);
  CHECK(store->value() == std::vector<int>{5});
}

TEST_CASE("a result that throws when it is moved fails its item") {
  struct Thorny {
    Thorny() = default;
    Thorny(Thorny&&) { throw std::runtime_error("thorny"); }
    Thorny& operator=(Thorny&&) { throw std::runtime_error("thorny"); }
  };
  const Attached<SingleStore<Thorny>> store(terms());
  store.pull();
  store->end_input(nullptr);
  Thorny thorny;
  store->store(0, std::move(thorny));
  CHECK_THROWS_WITH(static_cast<void>(store->value()), "thorny");
}

TEST_CASE("try_map keeps an outcome for each item") {
  const Attached<OutcomesStore<int>> store(terms(), chunks_of(3));
  store.pull();
  store->fail(1, error_of("one"));
  store->store(2, 20);
  store->store(0, 0);
  store->end_input(nullptr);
  const auto outcomes = std::move(store->value());
  REQUIRE(outcomes.size() == 3);
  CHECK(*outcomes[2] == 20);
  CHECK(outcomes[2].index() == 2);
  CHECK(text_of(outcomes[1].exception()) == "one");
}

TEST_CASE("try_map of a void function keeps outcomes without values") {
  const Attached<OutcomesStore<void>> store(terms(), chunks_of(2));
  store.pull();
  store->store(0, {});
  store->fail(1, error_of("one"));
  store->end_input(nullptr);
  CHECK(store->value()[0].has_value());
  CHECK_FALSE(store->value()[1].has_value());
}

TEST_CASE("a single item is pulled once, and ends the input by itself") {
  const Attached<SingleStore<std::unique_ptr<int>>> store(terms());
  CHECK(store.pull() == 1);
  CHECK_FALSE(store->input_ended());
  CHECK(store->next_chunk(store->pulled(), 1) == 0);
  CHECK(store->input_ended());
  store->store(0, std::make_unique<int>(5));
  CHECK(*store->value() == 5);
}

TEST_CASE("a caller that has lent its range leaves when nobody reads, and then nobody does again") {
  Borrowing borrowing;
  std::atomic<bool> reads = false;
  std::atomic<bool> may_end = false;
  std::thread reader([&] {
    CHECK(borrowing.read([&] {
      reads = true;
      while (!may_end) std::this_thread::yield();
    }));
  });
  REQUIRE(oracle::eventually([&] { return reads.load(); }));
  std::atomic<bool> left = false;
  std::thread caller([&] {
    borrowing.end();
    left = true;
  });
  // Once the caller wants to leave, nobody else begins; but it stays for the one that reads.
  CHECK(oracle::eventually([&] { return !borrowing.read([] {}); }));
  CHECK_FALSE(left);
  may_end = true;
  caller.join();
  reader.join();
  CHECK_FALSE(borrowing.read([] {}));
  CHECK_THROWS_AS((void)Borrowing().read([] { throw 1; }), int);
}
