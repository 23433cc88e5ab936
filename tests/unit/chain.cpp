/// Facts about chains: order, taking out, and ends without recursion.
#include <libpool/detail/chain.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <string>

namespace {

struct Link {
  explicit Link(int of) : number(of) {}
  int number;
  std::unique_ptr<Link> behind;
};
using Links = libpool::detail::Chain<std::unique_ptr<Link>>;

Links links(int count) {
  Links all;
  for (int i = 0; i < count; ++i) all.push_back(std::make_unique<Link>(i));
  return all;
}

std::string text(const Links& all) {
  std::string numbers;
  all.for_each([&](const Link& link) { numbers += std::to_string(link.number); });
  return numbers;
}

}  // namespace

TEST_CASE("things come out of a chain in their order") {
  Links all = links(3);
  all.push_front(std::make_unique<Link>(7));
  CHECK(all.size() == 4);
  CHECK(text(all) == "7012");
  for (const int expected : {7, 0, 1, 2}) CHECK(all.pop_front()->number == expected);
  CHECK(all.empty());
  all.push_back(std::make_unique<Link>(5));
  CHECK(text(all) == "5");
}

TEST_CASE("what is wanted is taken out, and both parts keep their order") {
  Links all = links(6);
  const Links odd = all.take_if([](const Link& link) { return link.number % 2 == 1; });
  CHECK(text(odd) == "135");
  CHECK(text(all) == "024");
  all.push_back(std::make_unique<Link>(8));
  CHECK(text(all) == "0248");
}

TEST_CASE("a thing that was taken out leaves nothing of the chain behind it") {
  Links all = links(2);
  CHECK(all.pop_front()->behind == nullptr);
  const Links moved = std::move(all);
  CHECK(text(moved) == "1");
}

TEST_CASE("a chain is appended to another, and is empty then") {
  Links all;
  Links more = links(2);
  all.append(std::move(more));
  all.append(Links());
  all.append(links(3));
  CHECK(text(all) == "01012");
  CHECK(all.size() == 5);
  CHECK(more.empty());
  more.push_back(std::make_unique<Link>(7));
  CHECK(text(more) == "7");
  all.push_back(std::make_unique<Link>(8));
  CHECK(text(all) == "010128");
}

TEST_CASE("a chain of a million things ends") { CHECK(links(1'000'000).size() == 1'000'000); }
