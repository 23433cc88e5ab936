/// The main example: digests of all files of a directory, computed serially, by threads and by
/// processes.
///
/// For every regular file, the SHA-256 of its bytes and the size that deflate brings them to. The
/// same generic code runs on both pools. In the end a `ProcessPool` runs once more with tasks among
/// the files that crash, hang or use up memory: each is named, and every file's digest is still
/// right.
#include <fmt/format.h>
#include <openssl/evp.h>
#include <zlib.h>
#include <CLI/CLI.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <system_error>
#include <vector>

#include <libpool/libpool.hpp>

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

// ---- One file ----------------------------------------------------------------------------------

/// What is computed for a file. Trivially copyable, so it travels bit by bit.
struct Digest {
  std::array<unsigned char, 32> sha256{};
  std::uint64_t bytes = 0;
  std::uint64_t deflated = 0;  ///< bytes after deflate at level 9
  friend bool operator==(const Digest&, const Digest&) = default;
};

/// Calls `use(data, bytes, last)` for each piece of the file, with `last` at the end.
template <class Use>
void read_pieces(const fs::path& path, Use use) {
  const std::unique_ptr<std::FILE, decltype([](std::FILE* f) { std::fclose(f); })> file(
      std::fopen(path.c_str(), "rb"));
  const auto fail = [&] { throw std::system_error(errno, std::generic_category(), path.string()); };
  if (!file) fail();
  std::vector<unsigned char> piece(std::size_t{64} << 10);
  bool last = false;
  while (!last) {
    const std::size_t bytes = std::fread(piece.data(), 1, piece.size(), file.get());
    if (std::ferror(file.get()) != 0) fail();
    last = bytes < piece.size();
    use(piece.data(), bytes, last);
  }
}

/// Counts the bytes that deflate makes of what it is given.
class DeflatedSize {
 public:
  DeflatedSize() {
    if (deflateInit(&stream_, Z_BEST_COMPRESSION) != Z_OK) throw std::bad_alloc();
  }
  ~DeflatedSize() { deflateEnd(&stream_); }
  DeflatedSize(const DeflatedSize&) = delete;
  DeflatedSize& operator=(const DeflatedSize&) = delete;

  void add(unsigned char* data, std::size_t bytes, bool last) {
    stream_.next_in = data;
    stream_.avail_in = static_cast<uInt>(bytes);
    do {
      stream_.next_out = discarded_.data();
      stream_.avail_out = static_cast<uInt>(discarded_.size());
      deflate(&stream_, last ? Z_FINISH : Z_NO_FLUSH);
    } while (stream_.avail_out == 0);
  }
  [[nodiscard]] std::uint64_t bytes() const { return stream_.total_out; }

 private:
  z_stream stream_{};
  std::array<unsigned char, 32768> discarded_{};
};

/// The task. Throws `std::system_error` for a file that cannot be read.
Digest digest_file(const fs::path& path) {
  Digest digest;
  DeflatedSize deflated;
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> sha256(EVP_MD_CTX_new(),
                                                                       EVP_MD_CTX_free);
  EVP_DigestInit_ex(sha256.get(), EVP_sha256(), nullptr);
  read_pieces(path, [&](unsigned char* data, std::size_t bytes, bool last) {
    EVP_DigestUpdate(sha256.get(), data, bytes);
    deflated.add(data, bytes, last);
    digest.bytes += bytes;
  });
  EVP_DigestFinal_ex(sha256.get(), digest.sha256.data(), nullptr);
  digest.deflated = deflated.bytes();
  return digest;
}

// ---- All files, three ways ---------------------------------------------------------------------

using Digests = std::vector<std::optional<Digest>>;  ///< empty for files that cannot be read

struct Run {
  Digests digests;
  std::vector<std::string> errors;  ///< of the files that cannot be read
  Seconds time{};
};

/// Regular files below `directory`, sorted by path. Symbolic links are not followed.
std::vector<fs::path> files_below(const fs::path& directory) {
  std::vector<fs::path> files;
  std::error_code ignored;  // What cannot be listed has no files to show.
  const auto options = fs::directory_options::skip_permission_denied;
  for (fs::recursive_directory_iterator entry(directory, options, ignored), end; entry != end;
       entry.increment(ignored)) {
    if (fs::is_regular_file(entry->symlink_status(ignored))) files.push_back(entry->path());
  }
  std::ranges::sort(files, {}, &fs::path::native);
  return files;
}

/// Times `digest_all(run)`, which includes making and ending a pool.
template <class DigestAll>
Run timed(DigestAll digest_all) {
  Run run;
  const Clock::time_point begin = Clock::now();
  digest_all(run);
  run.time = Clock::now() - begin;
  return run;
}

/// Also finds the time of the slowest file.
Run run_serially(const std::vector<fs::path>& files, Seconds& slowest) {
  return timed([&](Run& run) {
    for (const fs::path& file : files) {
      const Clock::time_point begin = Clock::now();
      try {
        run.digests.emplace_back(digest_file(file));
      } catch (const std::exception& error) {
        run.digests.emplace_back();
        run.errors.emplace_back(error.what());
      }
      slowest = std::max<Seconds>(slowest, Clock::now() - begin);
    }
  });
}

/// What became of a task that has no digest, in words.
std::string describe(const libpool::Outcome<Digest>& outcome) {
  try {
    static_cast<void>(outcome.value());
    return "has a digest";
  } catch (const libpool::WorkerCrashed& crash) {
    if (!crash.signal()) return fmt::format("exited with status {}", *crash.exit_status());
    return fmt::format("killed by signal {} (SIG{})", *crash.signal(),
                       sigabbrev_np(*crash.signal()));
  } catch (const libpool::TaskTimeout&) {
    return "stopped at its timeout";
  } catch (const std::exception& error) {
    return fmt::format("threw \"{}\"", error.what());
  }
}

template <libpool::WorkerPool Pool>
Run run_on(const std::vector<fs::path>& files, std::size_t workers) {
  return timed([&](Run& run) {
    Pool pool(workers);
    for (const auto& outcome : pool.try_map(digest_file, files)) {
      run.digests.push_back(outcome ? std::optional(*outcome) : std::nullopt);
      if (!outcome) run.errors.push_back(describe(outcome));
    }
  });
}

// ---- Hostile tasks among the files -------------------------------------------------------------

enum class Mischief : std::uint8_t {
  none,
  null_pointer,
  abort,
  endless_loop,
  endless_memory,
  exit
};

constexpr std::array mischief_names{"none",         "null dereference",       "abort()",
                                    "endless loop", "allocation without end", "_exit(3)"};

struct Job {
  fs::path file;
  Mischief mischief = Mischief::none;
};

Digest run_job(const Job& job) {
  switch (job.mischief) {
    case Mischief::none:
      break;
    case Mischief::null_pointer: {
      volatile int* volatile nowhere = nullptr;
      *nowhere = 1;
      break;
    }
    case Mischief::abort:
      std::abort();
    case Mischief::endless_loop:
      for (volatile bool forever = true; forever;) {
      }
      break;
    case Mischief::endless_memory:
      for (std::vector<std::vector<char>> hoard;;) hoard.emplace_back(std::size_t{1} << 20, 'x');
    case Mischief::exit:
      _exit(3);
  }
  return digest_file(job.file);
}

/// The files with one task of each mischief spread among them.
std::vector<Job> jobs_with_mischief(const std::vector<fs::path>& files) {
  std::vector<Job> jobs;
  for (const fs::path& file : files) jobs.push_back({.file = file});
  for (std::size_t kind = 1; kind < mischief_names.size(); ++kind) {
    const auto place = static_cast<std::ptrdiff_t>(jobs.size() * kind / mischief_names.size());
    jobs.insert(jobs.begin() + place, {.file = {}, .mischief = static_cast<Mischief>(kind)});
  }
  return jobs;
}

/// True if each hostile task was stopped and every file's result is as `expected`.
bool survives_mischief(const std::vector<fs::path>& files, std::size_t workers,
                       const Digests& expected, Seconds timeout) {
  const std::vector<Job> jobs = jobs_with_mischief(files);
  libpool::ProcessPool pool(workers, {.memory_limit = std::size_t{256} << 20});
  const auto outcomes = pool.try_map(
      run_job, jobs, {.timeout = std::chrono::duration_cast<std::chrono::nanoseconds>(timeout)});

  fmt::print("\nProcessPool again, with hostile tasks among the files:\n");
  Digests digests;
  bool all_stopped = true;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (jobs[i].mischief == Mischief::none) {
      digests.push_back(outcomes[i] ? std::optional(*outcomes[i]) : std::nullopt);
      continue;
    }
    all_stopped = all_stopped && !outcomes[i].has_value();
    fmt::print("  task {:>6}, {:<23} {}\n", i,
               fmt::format("{}:", mischief_names[static_cast<std::size_t>(jobs[i].mischief)]),
               describe(outcomes[i]));
  }
  const bool others_right = digests == expected;
  fmt::print("  results of all other files identical: {}\n", others_right ? "yes" : "NO");
  return all_stopped && others_right;
}

// ---- Output ------------------------------------------------------------------------------------

/// A line as `sha256sum` writes and checks it: names with a backslash or a line break are escaped.
std::string manifest_line(const Digest& digest, const fs::path& file) {
  std::string name;
  for (const char c : file.native()) {
    if (c == '\\')
      name += "\\\\";
    else if (c == '\n')
      name += "\\n";
    else if (c == '\r')
      name += "\\r";
    else
      name += c;
  }
  const char* mark = name == file.native() ? "" : "\\";
  return fmt::format("{}{:02x}  {}\n", mark, fmt::join(digest.sha256, ""), name);
}

void write_manifest(const std::string& path, const std::vector<fs::path>& files,
                    const Digests& digests) {
  std::ofstream manifest(path, std::ios::binary);
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (digests[i]) manifest << manifest_line(*digests[i], files[i]);
  }
  if (!manifest.flush()) throw std::runtime_error("cannot write " + path);
}

double megabytes(const Digests& digests) {
  std::uint64_t bytes = 0;
  for (const auto& digest : digests) bytes += digest ? digest->bytes : 0;
  return static_cast<double>(bytes) / 1e6;
}

void print_row(const char* how, const Run& run, const Run& serial) {
  const double size = megabytes(run.digests);
  const double seconds = run.time.count();
  fmt::print("{:<12} {:>7} {:>9.1f} {:>8.2f} {:>8.2f} {:>9.2f} {:>10}\n", how, run.digests.size(),
             size, seconds, size / seconds, serial.time.count() / seconds,
             run.digests == serial.digests ? "yes" : "NO");
}

/// Reads everything once, so that no run pays for a cold disk. Files that cannot be read come up
/// later.
void warm_up(const std::vector<fs::path>& files) {
  for (const fs::path& file : files) {
    try {
      read_pieces(file, [](const unsigned char*, std::size_t, bool) {});
    } catch (const std::system_error&) {
    }
  }
}

/// Returns whether everything was right.
bool digest_tree(const fs::path& directory, std::size_t workers, const std::string& manifest) {
  const std::vector<fs::path> files = files_below(directory);
  warm_up(files);
  Seconds slowest{};
  const Run serial = run_serially(files, slowest);
  const Run threads = run_on<libpool::ThreadPool>(files, workers);
  const Run processes = run_on<libpool::ProcessPool>(files, workers);

  fmt::print("{} workers, {}\n\n", workers, directory.string());
  fmt::print("{:<12} {:>7} {:>9} {:>8} {:>8} {:>9} {:>10}\n", "", "files", "MB", "seconds", "MB/s",
             "speed-up", "identical");
  print_row("serial", serial, serial);
  print_row("ThreadPool", threads, serial);
  print_row("ProcessPool", processes, serial);
  for (const std::string& error : processes.errors | std::views::take(5)) {
    fmt::print("not readable: {}\n", error);
  }
  if (processes.errors.size() > 5) fmt::print("... {} in all\n", processes.errors.size());
  if (!manifest.empty()) write_manifest(manifest, files, processes.digests);

  // Ten times what the slowest file took alone: no file meets this limit, an endless loop does.
  const Seconds timeout = Seconds(1) + 10 * slowest;
  const bool survived = survives_mischief(files, workers, serial.digests, timeout);
  return survived && threads.digests == serial.digests && processes.digests == serial.digests;
}

}  // namespace

int main(int argc, char** argv) {
  // Before any thread: the workers are forked from the program as it is here.
  libpool::prefork();
  CLI::App app("Digests of all files of a directory: serially, by threads, by processes");
  fs::path directory = "/usr/include";
  std::string manifest;
  std::size_t workers = libpool::available_parallelism();
  app.add_option("directory", directory, "Where to look for files")->capture_default_str();
  app.add_option("--manifest", manifest, "Write the digests to this file, for sha256sum --check");
  app.add_option("--workers", workers, "Threads, or processes")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return digest_tree(directory, workers, manifest) ? EXIT_SUCCESS : EXIT_FAILURE;
  } catch (const std::exception& error) {
    fmt::print(stderr, "digest_tree: {}\n", error.what());
    return EXIT_FAILURE;
  }
}
