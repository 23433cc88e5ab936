/// W5's tasks: CPU-bound and uneven, and ones of a given length.
#pragma once

#include <openssl/sha.h>

#include <array>
#include <string>
#include <string_view>

#include "bench.hpp"

namespace bench {

/// Iterations that the points of one row of the Mandelbrot set take; rows of the middle take most.
inline std::int64_t mandelbrot_row(std::int64_t row) {
  constexpr int columns = 256;
  constexpr int most = 512;
  std::int64_t total = 0;
  for (int column = 0; column < columns; ++column) {
    const double x0 = -2.0 + 2.5 * column / columns;
    const double y0 = -1.25 + 2.5 * static_cast<double>(row % 256) / 256;
    double x = 0;
    double y = 0;
    int i = 0;
    for (; i < most && x * x + y * y < 4; ++i) {
      const double next = x * x - y * y + x0;
      y = 2 * x * y + y0;
      x = next;
    }
    total += i;
  }
  return total;
}

/// Primes among a thousand numbers; later ones take longer.
inline std::int64_t primes_of_thousand(std::int64_t thousand) {
  std::int64_t count = 0;
  for (std::int64_t n = 1000 * thousand + 1; n < 1000 * (thousand + 1); n += 2) {
    bool prime = n > 1;
    for (std::int64_t d = 3; prime && d * d <= n; d += 2) prime = n % d != 0;
    count += prime ? 1 : 0;
  }
  return count;
}

/// First eight bytes of the SHA-256 of a buffer.
inline std::int64_t digest(std::string_view buffer) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> hash{};
  ::SHA256(reinterpret_cast<const unsigned char*>(buffer.data()), buffer.size(), hash.data());
  std::int64_t result = 0;
  for (std::size_t i = 0; i < 8; ++i) result = result * 256 + hash[i];
  return result;
}

/// Buffers of 4 to 256 KiB, long ones anywhere among short ones.
inline std::vector<std::string> uneven_buffers(std::size_t count) {
  std::vector<std::string> buffers;
  for (std::size_t i = 0; i < count; ++i) {
    buffers.emplace_back(std::size_t{4096} << (i * 2654435761U >> 7U) % 7U, static_cast<char>(i));
  }
  return buffers;
}

/// Computes for as many steps as asked; each waits for the one before.
inline std::int64_t compute(std::int64_t steps) {
  auto x = static_cast<std::uint64_t>(steps);
  for (std::int64_t i = 0; i < steps; ++i) x = x * 6364136223846793005U + 1442695040888963407U;
  return static_cast<std::int64_t>(x >> 1U);
}

/// Steps that `compute` makes in a microsecond on this machine, now.
inline double steps_in_a_microsecond() {
  constexpr std::int64_t steps = 1'000'000;
  volatile std::int64_t sink = 0;
  return static_cast<double>(steps) / (1e6 * median_seconds(0.02, [&] { sink = compute(steps); }));
}

/// How much of the workers' time goes into the tasks: the serial time against the parallel one.
/// Both alternate, because the speed of a shared machine changes.
template <class Serial, class Parallel>
double efficiency(const Arguments& arguments, Serial&& serial, Parallel&& parallel) {
  std::vector<double> alone;
  std::vector<double> together;
  parallel();
  const auto begin = Clock::now();
  do {
    alone.push_back(seconds(serial));
    together.push_back(seconds(parallel));
  } while (seconds_between(begin, Clock::now()) < 2 * arguments.budget());
  return median(alone) / median(together) / static_cast<double>(arguments.workers());
}

/// W5 for everybody. `loop` runs `f` over a vector of inputs in the pool and returns the results:
/// loop(f, inputs, one_a_chunk).
template <class Loop>
void uneven_tasks(const Arguments& arguments, Report& report, Loop&& loop) {
  const auto measure = [&]<class Item>(const std::string& name, auto f, std::vector<Item> inputs) {
    Numbers expected;
    const auto serial = [&] {
      expected.clear();
      for (const Item& each : inputs) expected.push_back(f(each));
    };
    for (const bool one_a_chunk : {true, false}) {
      Numbers results;
      report.add(name + (one_a_chunk ? "_chunk_1" : "_auto"),
                 efficiency(arguments, serial, [&] { results = loop(f, inputs, one_a_chunk); }));
      check(results == expected, name.c_str());
    }
  };
  const std::size_t size = arguments.count("size", 1);
  measure("mandelbrot", mandelbrot_row, numbers(256 * size));
  measure("primes", primes_of_thousand, numbers(150 * size));
  measure("sha256", digest, uneven_buffers(400 * size));
}

/// W5 for tasks of 1 µs to 1 ms, one a chunk.
template <class Loop>
void short_tasks(const Arguments& arguments, Report& report, Loop&& loop) {
  const double steps = steps_in_a_microsecond();
  const double total = 1e6 * arguments.budget() / 3;
  for (const int length : {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}) {
    const Numbers inputs(static_cast<std::size_t>(total / length),
                         static_cast<std::int64_t>(length * steps));
    volatile std::int64_t sink = 0;
    const auto serial = [&] {
      for (const std::int64_t each : inputs) sink = compute(each);
    };
    report.add("efficiency_" + std::to_string(length) + "_us",
               efficiency(arguments, serial, [&] { loop(compute, inputs, true); }));
  }
}

}  // namespace bench
