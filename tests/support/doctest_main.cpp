/// The main function of every doctest program, and the listener that looks for leaks after each
/// test case.
///
/// Runs in the test's own process. A forked child must leave by `_exit`, never return into this
/// runner. Signals keep their meaning: a crash is reported by `contain`, and by a sanitizer in its
/// own words.
#define DOCTEST_CONFIG_NO_POSIX_SIGNALS
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <iostream>
#include <thread>

#include <tests/support/footprint.hpp>

namespace {

libpool::testing::Footprint before;
int leaking_cases = 0;

/// Names each test case, so that the last line of a stuck or killed test tells where, and
/// compares what the process holds before and after it.
class LeakListener : public doctest::IReporter {
 public:
  explicit LeakListener(const doctest::ContextOptions&) {}

  void test_case_start(const doctest::TestCaseData& test) override {
    std::cout << "[test case] " << test.m_name << std::endl;
    before = libpool::testing::Footprint::now();
  }

  void test_case_end(const doctest::CurrentTestCaseStats&) override {
    const std::string growth = libpool::testing::settled_growth(before);
    if (growth.empty()) return;
    ++leaking_cases;
    std::cout << "ERROR: the test case left behind: " << growth << std::endl;
  }

  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};

}  // namespace

void libpool::testing::accept_footprint() { before = Footprint::now(); }

DOCTEST_REGISTER_LISTENER("leaks", 1, LeakListener);

int main(int argc, char** argv) {
  // ThreadSanitizer starts a thread of its own with the first one: it is no leak of a test case.
  std::thread([] {}).join();
  doctest::Context context(argc, argv);
  const int status = context.run();
  if (leaking_cases != 0) std::cout << leaking_cases << " test cases left something behind\n";
  return status != 0 ? status : static_cast<int>(leaking_cases != 0);
}
