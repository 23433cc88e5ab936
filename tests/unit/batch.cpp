/// Facts about the life of a batch: counting, concluding, callbacks, abandonment.
#include <libpool/detail/batch.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include <libpool/detail/result_stores.hpp>
#include <tests/support/fake_core.hpp>

using namespace libpool::detail;
using namespace libpool::testing;
using namespace std::chrono_literals;

namespace {

using Store = VectorStore<int>;
using Handlers = Callbacks<std::vector<int>>;

Batch::Terms terms() { return {.feeding = Feeding::by_helper}; }
ChunkRule chunks_of(std::size_t items) { return {.chunksize = items, .items = {}, .workers = 2}; }

/// Counts the calls of both callbacks.
struct Calls {
  int successes = 0;
  int errors = 0;
  Handlers handlers() {
    return {[this](const std::vector<int>&) { ++successes; },
            [this](std::exception_ptr) { ++errors; }};
  }
};

}  // namespace

TEST_CASE("a batch is done when its input has ended and all its items are settled") {
  const Attached<Store> batch(terms(), chunks_of(2));
  CHECK(batch.pull() == 2);
  batch->store(1, 11);
  batch->store(0, 10);
  CHECK_FALSE(batch->done());
  batch->end_input(nullptr);
  CHECK(batch->done());
  CHECK(batch->value() == std::vector<int>{10, 11});
}

TEST_CASE("a batch whose input ends first is done with its last item") {
  const Attached<Store> batch(terms(), chunks_of(2));
  batch.pull();
  batch->end_input(nullptr);
  batch->store(0, 10);
  CHECK_FALSE(batch->done());
  batch->put(1, 11);
  CHECK_FALSE(batch->done());
  batch->settled(1);
  CHECK(batch->done());
}

TEST_CASE("a batch of nothing is done at the end of its input, and has its callback called") {
  Calls calls;
  const Attached<Store> batch(terms(), chunks_of(1), calls.handlers());
  batch->end_input(nullptr);
  CHECK(batch->done());
  CHECK(calls.successes == 1);
  CHECK(calls.errors == 0);
}

TEST_CASE("a second end of the input changes nothing") {
  const Attached<Store> batch(terms(), chunks_of(1));
  batch->end_input(nullptr);
  batch->end_input(error_of("late"));
  CHECK(batch->succeeded());
}

TEST_CASE("a batch is not done before its callback has returned") {
  Calls calls;
  const Attached<Store> batch(terms(), chunks_of(1), calls.handlers());
  batch.core->keep_callbacks = true;
  batch->end_input(nullptr);
  CHECK_FALSE(batch->done());
  REQUIRE(batch.core->callbacks.size() == 1);
  batch.core->callbacks[0]->perform();
  CHECK(batch->done());
  CHECK(calls.successes == 1);
}

TEST_CASE("what a callback throws becomes the outcome") {
  const Attached<Store> batch(
      terms(), chunks_of(1),
      Handlers{[](const std::vector<int>&) { throw std::runtime_error("callback"); }, {}});
  batch->end_input(nullptr);
  CHECK_FALSE(batch->succeeded());
  CHECK_THROWS_WITH(static_cast<void>(batch->value()), "callback");
}

TEST_CASE("the first abandonment ends a batch, and its callback gets the reason") {
  Calls calls;
  const Attached<Store> batch(terms(), chunks_of(2), calls.handlers());
  batch.pull();
  CHECK(batch->abandon(error_of("first"), false));
  CHECK_FALSE(batch->abandon(error_of("second"), false));
  CHECK(batch->abandoned());
  CHECK(batch->done());
  CHECK(calls.errors == 1);
  batch->store(0, 1);
  batch->fail(1, error_of("late"));
  batch->end_input(nullptr);
  CHECK(calls.errors == 1);
  CHECK_THROWS_WITH(static_cast<void>(batch->value()), "first");
  CHECK(batch->next_chunk(batch->pulled(), 1) == 0);
}

TEST_CASE("a batch that has concluded cannot be abandoned") {
  const Attached<Store> batch(terms(), chunks_of(1));
  batch->end_input(nullptr);
  CHECK_FALSE(batch->abandon(error_of("late"), false));
  CHECK_FALSE(batch->abandon(error_of("late"), true));
  CHECK(batch->succeeded());
}

TEST_CASE(
    "abandoned at once, a batch is done before its callback runs, which cannot change the "
    "outcome") {
  const Attached<Store> batch(
      terms(), chunks_of(1),
      Handlers{{}, [](std::exception_ptr) { throw std::runtime_error("callback"); }});
  batch.core->keep_callbacks = true;
  CHECK(batch->abandon(error_of("terminated"), true));
  CHECK(batch->done());
  REQUIRE(batch.core->callbacks.size() == 1);
  batch.core->callbacks[0]->perform();
  CHECK_THROWS_WITH(static_cast<void>(batch->value()), "terminated");
}

TEST_CASE(
    "abandoned at once while its callback is due, a batch is done, and the callback is called "
    "once") {
  Calls calls;
  const Attached<Store> batch(terms(), chunks_of(1), calls.handlers());
  batch.core->keep_callbacks = true;
  batch->end_input(nullptr);
  CHECK_FALSE(batch->abandon(error_of("terminated"), true));
  CHECK(batch->done());
  CHECK_THROWS_WITH(static_cast<void>(batch->value()), "terminated");
  REQUIRE(batch.core->callbacks.size() == 1);
  batch.core->callbacks[0]->perform();
  CHECK(calls.successes + calls.errors == 1);
}

TEST_CASE("waiting for a batch inside its own callback is refused") {
  std::shared_ptr<Store> self;
  bool refused = false;
  bool known = false;
  Attached<Store> batch(terms(), chunks_of(1),
                        Handlers{[&](const std::vector<int>&) {
                                   known = in_callback_of(*self) && in_callback_of(self->core());
                                   try {
                                     self->wait(std::nullopt);
                                   } catch (const std::logic_error&) {
                                     refused = true;
                                   }
                                 },
                                 {}});
  self = batch.store;
  batch->end_input(nullptr);
  CHECK(refused);
  CHECK(known);
  CHECK_FALSE(in_callback_of(*batch.store));
  CHECK_FALSE(in_callback_of(*batch.core));
}

TEST_CASE("a change after the look is never missed") {
  const Attached<Store> batch(terms(), chunks_of(1));
  const auto seen = batch->changes();
  CHECK_FALSE(batch->wait_change(seen, Clock::now()));
  batch->end_input(nullptr);
  CHECK(batch->wait_change(seen, std::nullopt));
}

TEST_CASE("waiters wake when a batch ends") {
  const Attached<Store> batch(terms(), chunks_of(1));
  batch.pull();
  std::jthread ends([&] {
    std::this_thread::sleep_for(10ms);
    batch->end_input(nullptr);
    batch->store(0, 5);
  });
  CHECK(batch->wait(std::nullopt));
  CHECK(batch->value() == std::vector<int>{5});
}

TEST_CASE("the start of a single item is claimed once") {
  const Attached<Store> batch(terms(), chunks_of(1));
  CHECK(batch->claim_start());
  CHECK_FALSE(batch->claim_start());
}

TEST_CASE("a timeout past the end of the clock is no deadline") {
  CHECK(deadline_in(std::chrono::hours::max()) == std::nullopt);
  CHECK(deadline_in(1h) > Clock::now());
  CHECK(deadline_in(-1h) < Clock::now());
}
