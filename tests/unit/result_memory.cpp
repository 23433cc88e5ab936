/// Memory of results: what is kept, for whom, and until when.
#include <doctest/doctest.h>

#include <libpool/collect/result_memory.hpp>

using libpool::collect::ResultMemory;

namespace {

/// Pieces are told apart by their capacity: freed memory may come back under its old address.
void give_piece(ResultMemory& memory, std::size_t bytes) {
  ResultMemory::Bytes piece;
  piece.reserve(bytes);
  memory.give(std::move(piece));
}

}  // namespace

TEST_CASE("a piece serves again, the smallest that is large enough") {
  ResultMemory memory(1000);
  give_piece(memory, 500);
  give_piece(memory, 200);
  CHECK(memory.take(150).capacity() == 200);
  CHECK(memory.take(150).capacity() == 500);
  CHECK(memory.take(150).capacity() == 150);
}

TEST_CASE("no more is kept than the bound: the oldest makes room for the newest") {
  ResultMemory memory(1000);
  give_piece(memory, 300);
  give_piece(memory, 310);
  give_piece(memory, 600);
  give_piece(memory, 1001);
  CHECK(memory.take(1).capacity() == 310);
  CHECK(memory.take(1).capacity() == 600);
  CHECK(memory.take(1).capacity() == 1);
}

TEST_CASE("a piece that is too small gives way to a kept one and is kept itself") {
  ResultMemory memory(20'000);
  give_piece(memory, 5000);
  auto piece = memory.take(5001);
  memory.give(std::move(piece));
  ResultMemory::Bytes small(100, std::byte{1});
  memory.append(small, ResultMemory::Bytes(101, std::byte{2}));
  CHECK(small.size() == 201);
  CHECK(small.front() == std::byte{1});
  CHECK(small.back() == std::byte{2});
  CHECK(small.capacity() == 5000);
  CHECK(memory.take(1).capacity() == 100);
  CHECK(memory.take(1).capacity() == 5001);
}

TEST_CASE("a piece that was kept is empty, and grows") {
  ResultMemory memory(1'000'000);
  ResultMemory::Bytes piece(300, std::byte{1});
  memory.give(std::move(piece));
  piece = memory.take(200);
  CHECK(piece.empty());
  CHECK(piece.capacity() == 300);
  const std::vector<std::byte> bytes(100'000, std::byte{7});
  memory.append(piece, bytes);
  memory.append(piece, bytes);
  CHECK(piece.size() == 200'000);
  CHECK(piece.back() == std::byte{7});
}

TEST_CASE("a lent piece comes back with the last pointer to it, whoever is left") {
  auto memory = std::make_shared<ResultMemory>(1000);
  auto lent = memory->lend(ResultMemory::Bytes(100, std::byte{5}));
  auto copy = lent;
  lent.reset();
  CHECK(copy->back() == std::byte{5});
  CHECK(memory->take(60).capacity() == 60);
  copy.reset();
  CHECK(memory->take(60).capacity() == 100);

  lent = memory->lend(ResultMemory::Bytes(100, std::byte{6}));
  memory.reset();
  CHECK(lent->back() == std::byte{6});
}

TEST_CASE("when the pool has ended nothing is kept any more") {
  ResultMemory memory(1000);
  give_piece(memory, 101);
  memory.close();
  give_piece(memory, 102);
  CHECK(memory.take(100).capacity() == 100);
}
