/// What a fork server says, whatever it is: the client takes its reports or gives it up, the
/// supervisor keeps its books, no descriptor is lost or closed twice, and it all ends.
#include <libpool/supervise/supervisor.hpp>
#include <tests/fuzz/fake_server.hpp>
#include <tests/support/core_parts.hpp>

using namespace libpool;
using fuzz::FakeServer;
using fuzz::Input;
using worker::Report;

namespace {

constexpr std::uint32_t workers = 3;

/// A message that a server could send, in part at least.
FakeServer::Message made_up(Input& input) {
  FakeServer::Message message;
  Report report;
  report.kind = static_cast<Report::Kind>(input.below(6));
  report.worker = input.below(workers + 1);
  report.generation = input.below(3);
  report.pid = static_cast<pid_t>(input.below(4));
  report.code = static_cast<std::int32_t>(input.below(4));
  report.status = input.take<std::int8_t>();
  report.error = static_cast<std::int32_t>(input.below(4));
  message.bytes.resize(input.below(8) == 7 ? input.take<std::uint8_t>() : sizeof report);
  const auto* bytes = reinterpret_cast<const std::byte*>(&report);
  std::copy_n(bytes, std::min(message.bytes.size(), sizeof report), message.bytes.begin());
  message.descriptors = input.below(4);
  message.flags = input.below(8) == 7 ? MSG_CTRUNC : 0;
  message.control_type = input.below(8) == 7 ? SCM_CREDENTIALS : SCM_RIGHTS;
  return message;
}

std::optional<supervise::ForkServer> start() {
  const ring::PoolDescription pool{.workers = workers};
  try {
    return supervise::ForkServer::start(pool, {}, {});
  } catch (const std::system_error&) {
    return std::nullopt;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  FakeServer fake;
  if (input.below(4) == 0) {
    fake.messages.push_back(made_up(input));
  } else {
    fake.report({.kind = Report::Kind::ready}, 1);
  }
  auto server = start();
  if (!server) return 0;
  testing::TestCore core(4, workers);
  std::vector<ring::StopWord> stops(workers);
  supervise::Supervisor supervisor(std::move(*server), core.readers, stops, core.dispatcher,
                                   core.collector,
                                   {4, std::chrono::hours(1), std::chrono::seconds(1)});
  supervisor.start();
  auto now = supervise::Supervisor::Clock::time_point{};
  while (!input.empty()) {
    switch (input.below(4)) {
      case 0:
        supervisor.pump(now += std::chrono::seconds(1), true, core.deliveries);
        break;
      case 1:
        fake.dead = input.below(8) == 0;
        break;
      default:
        fake.messages.push_back(made_up(input));
    }
    fuzz::require(supervisor.workers().size() <= workers, "no worker is counted twice");
  }
  supervisor.pump(now, true, core.deliveries);
  return 0;
}
