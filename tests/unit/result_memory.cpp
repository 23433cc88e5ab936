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

TEST_CASE("a piece is not spent on a result much smaller") {
  ResultMemory memory(1000);
  give_piece(memory, 500);
  CHECK(memory.take(100).capacity() == 100);
  CHECK(memory.take(125).capacity() == 500);
}

TEST_CASE("no more is kept than the bound") {
  ResultMemory memory(1000);
  give_piece(memory, 600);
  give_piece(memory, 401);
  give_piece(memory, 400);
  CHECK(memory.take(390).capacity() == 400);
  CHECK(memory.take(390).capacity() == 600);
  CHECK(memory.take(390).capacity() == 390);
}

TEST_CASE("a piece that was kept is empty, and grows") {
  ResultMemory memory(1'000'000);
  ResultMemory::Bytes piece(300, std::byte{1});
  memory.give(std::move(piece));
  piece = memory.take(200);
  CHECK(piece.empty());
  CHECK(piece.capacity() == 300);
  const std::vector<std::byte> bytes(100'000, std::byte{7});
  ResultMemory::append(piece, bytes);
  ResultMemory::append(piece, bytes);
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
