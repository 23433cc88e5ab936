/// Facts about the typed half of process batches, with the core and the worker forged: a chunk is
/// encoded, run and decoded in this process.
#include <libpool/detail/process_task.hpp>

#include <doctest/doctest.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <list>
#include <map>
#include <memory>
#include <numeric>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include <libpool/detail/source.hpp>
#include <libpool/partial.hpp>
#include <tests/support/payload_buffer.hpp>

using namespace libpool;
using namespace libpool::detail;
using libpool::testing::Bytes;
using libpool::testing::PayloadBuffer;
using Pull = ChunkCodec::Pull;

namespace {

const codec::ModuleMap& modules() {
  static const codec::ModuleMap map = codec::ModuleMap::current();
  return map;
}

/// What became of the items.
template <class R>
struct Outcomes {
  static constexpr bool yields_items = false;
  using Result = std::conditional_t<std::is_void_v<R>, std::monostate, R>;
  void store(std::size_t index, Result&& value) { values.emplace(index, std::move(value)); }
  void fail(std::size_t index, std::exception_ptr error) { errors.emplace(index, error); }
  void put(std::size_t index, Result&& value) { store(index, std::move(value)); }
  void put_error(std::size_t index, std::exception_ptr error) { fail(index, error); }
  std::map<std::size_t, Result> values;
  std::map<std::size_t, std::exception_ptr> errors;
};

/// A worker that holds one chunk; its runs hold at most three results.
class ForgedWorker final : public ChunkContext {
 public:
  ForgedWorker(std::span<const std::byte> payload, std::size_t call_bytes, std::size_t stride,
               std::size_t items)
      : ChunkContext(word_, 1, 0, false, false),
        payload_(payload),
        call_bytes_(call_bytes),
        stride_(stride),
        left_(items),
        position_((call_bytes + 15) / 16 * 16) {}

  std::map<std::size_t, Bytes> results;
  std::map<std::size_t, std::exception_ptr> errors;
  std::exception_ptr all_failed;
  std::size_t begun = 0;

  [[nodiscard]] const codec::ModuleMap& modules() const noexcept override { return ::modules(); }
  [[nodiscard]] codec::PayloadReader call() override {
    return codec::PayloadReader(payload_.first(call_bytes_), payload_.data());
  }
  [[nodiscard]] bool next() override {
    if (left_ == 0) return false;
    --left_;
    ++index_;
    std::uint64_t bytes = stride_;
    if (stride_ == 0) {
      std::memcpy(&bytes, payload_.data() + position_, sizeof bytes);
      position_ += sizeof bytes;
    }
    item_ = payload_.subspan(position_, bytes);
    position_ += stride_ == 0 ? (bytes + 7) / 8 * 8 : bytes;
    return true;
  }
  [[nodiscard]] codec::PayloadReader item() override {
    return codec::PayloadReader(item_, payload_.data());
  }
  void begin_run() override { ++begun; }
  [[nodiscard]] codec::PayloadWriter& result() override {
    result_.rewind(0);
    return result_;
  }
  void publish() override { results[index_ - 1] = result_.bytes(); }
  void fail(std::exception_ptr error) noexcept override { errors[index_ - 1] = error; }
  void fail_all(std::exception_ptr error) noexcept override { all_failed = error; }
  [[noreturn]] void leave_thread() noexcept override { ::_exit(0); }

  [[nodiscard]] bool in_runs() const noexcept override { return true; }
  [[nodiscard]] bool take() noexcept override { return true; }
  [[nodiscard]] Run next_run(std::uint32_t done, std::size_t result_size) override {
    take_run(done);
    run_result_size_ = result_size;
    const auto items = static_cast<std::uint32_t>(std::min<std::size_t>(left_, 3));
    return {run_.data(), static_cast<std::uint32_t>(index_), items};
  }
  [[nodiscard]] codec::PayloadReader items() override {
    return codec::PayloadReader(payload_.subspan(position_), payload_.data());
  }
  void fail_in_run(std::uint32_t done, std::exception_ptr error) noexcept override {
    take_run(done);
    errors[index_++] = error;
    --left_;
    run_result_size_ = 0;
  }
  void begin_eagerly(std::uint32_t) override {}

  [[nodiscard]] bool holds(const void* address) const {
    return address >= payload_.data() && address < payload_.data() + payload_.size();
  }

 private:
  std::span<const std::byte> payload_;
  std::size_t call_bytes_;
  std::size_t stride_;
  std::size_t left_;
  std::size_t position_;
  std::size_t index_ = 0;
  std::span<const std::byte> item_;
  PayloadBuffer result_;

  void take_run(std::uint32_t done) {
    begun += done;
    for (std::uint32_t item = 0; item < done; ++item, ++index_, --left_) {
      const auto from = run_.begin() + static_cast<std::ptrdiff_t>(item * run_result_size_);
      results[index_] = Bytes(from, from + static_cast<std::ptrdiff_t>(run_result_size_));
    }
  }
  ring::ProgressWord word_{};
  std::size_t run_result_size_ = 0;
  std::array<std::byte, 3 * ring::largest_run_result> run_{};
};

/// A batch of the items of `given`, taken whole as one chunk.
template <class F, class Source>
struct Run {
  using Result = source_result_t<F, Source>;
  using Store = Outcomes<Result>;

  Run(F f, Source source)
      : store(std::make_shared<Store>()), codec(std::move(f), std::move(source), store, modules()) {
    check_process_task<F, Source>();
    codec.encode_call(payload);
    const std::size_t call_bytes = payload.position();
    payload.align(16);
    pulled = codec.encode({100, SIZE_MAX}, payload);
    worker.emplace(payload.written(), call_bytes, codec.item_stride(), pulled.items);
    const void* runner = modules().address_of(codec.runner());
    REQUIRE(runner != nullptr);
    reinterpret_cast<ChunkRunner>(const_cast<void*>(runner))(*worker);
    for (const auto& [index, bytes] : worker->results) {
      CHECK(codec.decode(index, codec::PayloadReader(bytes)));
    }
  }
  std::shared_ptr<Store> store;
  PayloadBuffer payload;
  TypedChunkCodec<F, Source, Store> codec;
  ChunkCodec::Pulled pulled;
  std::optional<ForgedWorker> worker;
};

template <class F, class Given>
auto run_map(F f, Given&& given) {
  auto source = make_source<F, true>(std::forward<Given>(given));
  return std::make_unique<Run<F, decltype(source)>>(std::move(f), std::move(source));
}
template <class F, class Given>
auto run_starmap(F f, Given&& given) {
  auto source = make_star_source<F, true>(std::forward<Given>(given));
  return std::make_unique<Run<F, decltype(source)>>(std::move(f), std::move(source));
}

int square(int value) { return value * value; }

struct Scale {
  int factor = 1;
  std::string unit;
  std::string operator()(int value) const { return std::to_string(factor * value) + unit; }
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive & factor & unit;
  }
};

struct Unwilling {
  bool refuse = false;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    if (refuse) throw std::runtime_error("refused");
    archive & refuse;
  }
};

}  // namespace

TEST_CASE("functions of every kind travel") {
  const std::vector<int> numbers{1, 2, 3};
  const int factor = 5;
  CHECK(run_map(&square, numbers)->store->values.at(2) == 9);
  CHECK(run_map([](int v) { return v + 0.5; }, numbers)->store->values.at(2) == 3.5);
  CHECK(
      run_map([factor](int v) { return v * std::max(factor, 1); }, numbers)->store->values.at(2) ==
      15);
  CHECK(run_map(Scale{.factor = 2, .unit = "m"}, numbers)->store->values.at(2) == "6m");
  CHECK(run_map(partial([](const std::string& a, int v) { return a + std::to_string(v); }, "n"),
                numbers)
            ->store->values.at(2) == "n3");
  CHECK(run_map(partial(&square), numbers)->store->values.at(2) == 9);
}

TEST_CASE("bits travel side by side, others with their length") {
  const auto bulk = run_map(&square, std::vector<int>{1, 2, 3});
  CHECK(bulk->codec.item_stride() == sizeof(int));
  CHECK(bulk->pulled.items == 3);
  CHECK(bulk->pulled.what == Pull::ended);
  const auto listed = run_map(&square, std::list<int>{1, 2, 3});
  CHECK(listed->codec.item_stride() == sizeof(int));
  CHECK(listed->store->values.at(2) == 9);
  const auto computed = run_map(&square, std::views::iota(0, 4));
  CHECK(computed->store->values.at(3) == 9);
  const std::vector<std::tuple<int, double>> pairs{{1, 0.5}, {2, 0.25}};
  const auto tuples = run_starmap([](int a, double b) { return a + b; }, pairs);
  CHECK(tuples->codec.item_stride() == sizeof(int) + sizeof(double));
  CHECK(tuples->store->values.at(1) == 2.25);
  const auto texts =
      run_map([](const std::string& t) { return t.size(); }, std::vector<std::string>{"a", "bcd"});
  CHECK(texts->codec.item_stride() == 0);
  CHECK(texts->store->values.at(1) == 3);
}

TEST_CASE("a chunk takes no more items than asked for, and says when the input has ended") {
  const std::vector<int> numbers{1, 2, 3};
  const auto source = make_source<int (*)(int), true>(numbers);
  auto store = std::make_shared<Outcomes<int>>();
  TypedChunkCodec codec(&square, source, store, modules());
  PayloadBuffer out;
  CHECK(codec.encode({2, SIZE_MAX}, out).what == Pull::more);
  CHECK(out.position() == 2 * sizeof(int));
  const auto rest = codec.encode({2, SIZE_MAX}, out);
  CHECK(rest.items == 1);
  CHECK(rest.what == Pull::ended);
}

TEST_CASE("a chunk ends with the item by which it has enough bytes, and has one at least") {
  const auto items = [](auto f, const auto& given, std::size_t bytes) {
    auto source = make_source<decltype(f), true>(given);
    using Result = source_result_t<decltype(f), decltype(source)>;
    TypedChunkCodec codec(f, source, std::make_shared<Outcomes<Result>>(), modules());
    PayloadBuffer out;
    return codec.encode({100, bytes}, out).items;
  };
  const std::vector<int> numbers(10);
  CHECK(items(&square, numbers, 4 * sizeof(int)) == 4);
  CHECK(items(&square, numbers, 0) == 1);
  CHECK(items(&square, std::list<int>(10), 4 * sizeof(int)) == 4);
  const std::vector<std::string> texts(10, std::string(100, 'x'));  // 120 bytes each, encoded
  const auto size = [](const std::string& text) { return text.size(); };
  CHECK(items(size, texts, 240) == 2);
  CHECK(items(size, texts, 241) == 3);
  CHECK(items(size, texts, 1) == 1);
  CHECK(items(size, texts, SIZE_MAX) == 10);
}

TEST_CASE("move-only arguments and results travel") {
  std::vector<std::unique_ptr<int>> owners;
  owners.push_back(std::make_unique<int>(5));
  const auto run = run_map(
      [](std::unique_ptr<int> p) {
        ++*p;
        return p;
      },
      std::move(owners));
  CHECK(*run->store->values.at(0) == 6);
}

TEST_CASE("views show an element where it lies in the payload") {
  const auto address_of = [](std::span<const double> numbers) {
    return std::pair(reinterpret_cast<std::uintptr_t>(numbers.data()), numbers.size());
  };
  const auto numbers = run_map(address_of, std::vector<std::vector<double>>{{1}, {2, 3, 4}});
  const auto [address, size] = numbers->store->values.at(1);
  CHECK(size == 3);
  CHECK(numbers->worker->holds(reinterpret_cast<const void*>(address)));
  const auto texts =
      run_map([](std::string_view t) { return reinterpret_cast<std::uintptr_t>(t.data()); },
              std::vector<std::string>{"text"});
  CHECK(texts->worker->holds(reinterpret_cast<const void*>(texts->store->values.at(0))));
}

TEST_CASE("the state of a mutable function lives for one chunk") {
  const auto run = run_map([n = 0](int) mutable { return ++n; }, std::vector<int>{7, 7, 7});
  CHECK(run->store->values.at(2) == 3);
}

TEST_CASE("void functions send nothing") {
  const auto run = run_map([](int) {}, std::vector<int>{1, 2});
  CHECK(run->worker->results.at(1).empty());
  CHECK(run->store->values.size() == 2);
}

TEST_CASE("what the function throws fails its item only") {
  const auto run = run_map(
      [](int v) {
        if (v == 2) throw std::out_of_range("two");
        return v;
      },
      std::vector<int>{1, 2, 3});
  CHECK(run->store->values.size() == 2);
  CHECK_THROWS_AS(std::rethrow_exception(run->worker->errors.at(1)), std::out_of_range);
}

TEST_CASE("a result that cannot be encoded fails its item only") {
  const auto run = run_map([](int v) { return Unwilling{v == 2}; }, std::vector<int>{1, 2, 3});
  CHECK(run->store->values.size() == 2);
  CHECK_THROWS_AS(std::rethrow_exception(run->worker->errors.at(1)), SerializationError);
}

TEST_CASE("an item that cannot be encoded leaves no bytes, and the next can be") {
  const std::vector<Unwilling> items{{false}, {true}, {false}};
  const auto f = [](const Unwilling&) { return 1; };
  const auto source = make_source<decltype(f), true>(items);
  auto store = std::make_shared<Outcomes<int>>();
  TypedChunkCodec codec(f, source, store, modules());
  PayloadBuffer out;
  const auto first = codec.encode({10, SIZE_MAX}, out);
  CHECK(first.items == 1);
  CHECK(first.what == Pull::item_failed);
  CHECK_THROWS_AS(std::rethrow_exception(first.error), SerializationError);
  const std::size_t one_item = out.position();
  const auto second = codec.encode({10, SIZE_MAX}, out);
  CHECK(second.items == 1);
  CHECK(second.what == Pull::ended);
  CHECK(out.position() == 2 * one_item);
}

TEST_CASE("what the input throws is told apart from what the codec throws") {
  auto items = std::views::iota(0, 5) | std::views::transform([](int v) {
                 if (v == 3) throw std::logic_error("input");
                 return v;
               });
  const auto run = run_map(&square, items);
  CHECK(run->pulled.items == 3);
  CHECK(run->pulled.what == Pull::input_threw);
  CHECK_THROWS_AS(std::rethrow_exception(run->pulled.error), std::logic_error);
}

TEST_CASE("a function that cannot be decoded fails the chunk") {
  const std::vector<int> numbers{1};
  auto source = make_source<Scale, true>(numbers);
  auto store = std::make_shared<Outcomes<std::string>>();
  TypedChunkCodec codec(Scale{}, source, store, modules());
  PayloadBuffer out;
  codec.encode_call(out);
  ForgedWorker worker(out.written(), 1, sizeof(int), 1);
  run_chunk<Scale, std::tuple<int>, std::tuple<const int&>>(worker);
  CHECK_THROWS_AS(std::rethrow_exception(worker.all_failed), SerializationError);
}

TEST_CASE("results that are damaged or too long are a SerializationError of their item") {
  const std::vector<int> numbers{1};
  auto source = make_source<int (*)(int), true>(numbers);
  auto store = std::make_shared<Outcomes<int>>();
  TypedChunkCodec codec(&square, source, store, modules());
  CHECK(!codec.decode(0, codec::PayloadReader(Bytes(3))));
  CHECK(!codec.decode(1, codec::PayloadReader(Bytes(5))));
  CHECK_THROWS_AS(std::rethrow_exception(store->errors.at(0)), SerializationError);
  CHECK_THROWS_AS(std::rethrow_exception(store->errors.at(1)), SerializationError);
}

TEST_CASE("arguments that are truncated or too long fail before the function runs") {
  PayloadBuffer out;
  codec::encode(out, std::string("text"));
  for (const std::size_t bytes : {out.position() - 1, out.position() + 1}) {
    PayloadBuffer payload;
    const std::uint64_t length = bytes;
    payload.write(&length, sizeof length);
    payload.write(out.written().data(), std::min(bytes, out.position()));
    payload.align(8);
    ForgedWorker worker(payload.written(), 0, 0, 1);
    const auto f = [](const std::string& text) { return text.size(); };
    run_chunk<decltype(+f), std::tuple<std::string>, std::tuple<const std::string&>>(worker);
    CHECK(worker.begun == 0);
  }
}

TEST_CASE("pthread_exit in a task ends the process, not only the thread") {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    (void)run_map([](int) { ::pthread_exit(nullptr); }, std::vector<int>{1});
    ::_exit(1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);  // by ForgedWorker::leave_thread
}

TEST_CASE("a function in no known module is refused in the caller") {
  const std::vector<int> numbers{1};
  auto source = make_source<int (*)(int), true>(numbers);
  auto store = std::make_shared<Outcomes<int>>();
  using Codec = TypedChunkCodec<int (*)(int), decltype(source), Outcomes<int>>;
  static int nowhere = 0;
  const auto stray = reinterpret_cast<int (*)(int)>(&nowhere);
  CHECK_THROWS_AS(Codec(stray, source, store, modules()), PoolError);
  CHECK_THROWS_AS(Codec(&square, source, store, codec::ModuleMap{}), PoolError);
}
