/// Outcomes on their way to their batches. Runs in the parent; see the header.
#include <libpool/collect/deliveries.hpp>

#include <utility>

#include <libpool/codec/exception_codec.hpp>

namespace libpool::collect {

namespace {

/// The bytes of one result, which its value may keep.
class Held final : public codec::PayloadHolder {
 public:
  Held(ResultMemory& memory, ResultMemory::Bytes bytes) noexcept
      : memory_(memory), bytes_(std::move(bytes)), capacity_(bytes_.capacity()) {}
  ~Held() {
    if (lent_ == nullptr) memory_.give(std::move(bytes_));
  }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

  std::shared_ptr<const void> hold(std::size_t bytes) override {
    if (bytes < capacity_ / 4) return nullptr;
    if (lent_ == nullptr) lent_ = memory_.lend(std::move(bytes_));
    return lent_;
  }

 private:
  ResultMemory& memory_;
  ResultMemory::Bytes bytes_;
  const std::size_t capacity_;
  std::shared_ptr<const void> lent_;
};

}  // namespace

std::uint64_t& Deliveries::count_of(Kind kind) noexcept {
  switch (kind) {
    case Kind::value:
    case Kind::run:
      return tally_.succeeded;
    case Kind::crashed:
      return tally_.crashed;
    case Kind::timed_out:
      return tally_.timed_out;
    default:
      return tally_.failed;
  }
}

Deliveries::Share& Deliveries::share_of(const std::shared_ptr<submit::Job>& job) {
  // Outcomes come in runs of one job, so that looking at the last one is nearly always enough.
  if (jobs_.empty() || jobs_.back().job != job) jobs_.push_back({job, 0, 0});
  return jobs_.back();
}

void Deliveries::push(const std::shared_ptr<submit::Job>& job, Item item, std::size_t items) {
  Share& share = share_of(job);
  item.job = static_cast<std::uint32_t>(jobs_.size() - 1);
  items_.push_back(item);
  share.items += items;
  count_of(item.kind) += items;
}

void Deliveries::add_run(const std::shared_ptr<submit::Job>& job, std::size_t index,
                         std::size_t items, std::span<const std::byte> bytes, pid_t pid) {
  Share& share = share_of(job);
  if (job->codec->place(index, items, bytes.data())) {
    share.items += items;
    tally_.succeeded += items;
  } else {
    push(job, {index, keep(bytes), bytes.size(), 0, pid, Kind::run}, items);
  }
  share.in_runs += items;
}

/// Copies the bytes; returns where they are.
std::size_t Deliveries::keep(std::span<const std::byte> bytes) {
  // Payloads start at multiples of 16, as they did where they were written.
  const std::size_t place = (bytes_.size() + 15) / 16 * 16;
  bytes_.resize(place);
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  return place;
}

void Deliveries::add(const std::shared_ptr<submit::Job>& job, std::size_t index, Kind kind,
                     std::span<const std::byte> bytes, pid_t pid) {
  const std::size_t place = keep(bytes);
  push(job, {index, place, bytes.size(), 0, pid, kind});
}

void Deliveries::add(const std::shared_ptr<submit::Job>& job, std::size_t index, Kind kind,
                     std::vector<std::byte>&& bytes, pid_t pid) {
  if (buffers_.size() == buffers_.capacity()) buffers_.reserve(8 + 2 * buffers_.size());
  push(job, {index, buffers_.size(), bytes.size(), 0, pid, kind, Where::buffer});
  buffers_.push_back(std::move(bytes));
}

void Deliveries::add(const std::shared_ptr<submit::Job>& job, std::size_t index,
                     std::unique_ptr<detail::Reception>&& reception, pid_t pid) {
  if (receptions_.size() == receptions_.capacity()) receptions_.reserve(8 + 2 * receptions_.size());
  push(job, {index, receptions_.size(), 0, 0, pid, Kind::value, Where::reception});
  receptions_.push_back(std::move(reception));
}

void Deliveries::add(const std::shared_ptr<submit::Job>& job, std::size_t index, Kind kind,
                     std::exception_ptr error) {
  exceptions_.push_back(std::move(error));
  push(job, {index, exceptions_.size() - 1, 0, 0, 0, kind});
}

void Deliveries::deliver() noexcept {
  for (const Item& item : items_) deliver(item);
  for (const Share& share : jobs_) {
    if (share.in_runs != 0) share.job->batch->settled(share.in_runs);
  }
}

void Deliveries::deliver(const Item& item) noexcept {
  submit::Job& job = *jobs_[item.job].job;
  if (item.kind != Kind::value && item.kind != Kind::run && item.kind != Kind::error) {
    job.batch->fail(item.index, exceptions_[item.place]);
    return;
  }
  if (item.where == Where::reception) {
    if (!receptions_[item.place]->complete(item.index)) ++undecoded_;
  } else if (item.where == Where::buffer) {
    Held held(*memory_, std::move(buffers_[item.place]));
    decode(item, codec::PayloadReader(held.bytes(), nullptr, &held));
  } else {
    decode(item, codec::PayloadReader({bytes_.data() + item.place, item.size}));
  }
}

void Deliveries::decode(const Item& item, codec::PayloadReader bytes) noexcept {
  submit::Job& job = *jobs_[item.job].job;
  if (item.kind == Kind::error) {
    job.batch->fail(item.index, codec::decode_exception(bytes, item.pid, item.index));
  } else if (item.kind == Kind::run) {
    undecoded_ += job.codec->decode_run(item.index, bytes);
  } else if (!job.codec->decode(item.index, bytes)) {
    ++undecoded_;
  }
}

void Deliveries::count(Tally& tally) const noexcept {
  tally.succeeded += tally_.succeeded;
  tally.failed += tally_.failed;
  tally.crashed += tally_.crashed;
  tally.timed_out += tally_.timed_out;
  for (const Share& share : jobs_) share.job->counted += share.items;
}

std::vector<Deliveries::Share> Deliveries::account(Tally& tally) noexcept {
  for (const Share& share : jobs_) share.job->settled += share.items;
  tally.succeeded -= undecoded_;
  tally.failed += undecoded_;
  undecoded_ = 0;
  tally_ = {};
  items_.clear();
  bytes_.clear();
  buffers_.clear();
  receptions_.clear();
  exceptions_.clear();
  return std::exchange(jobs_, {});
}

}  // namespace libpool::collect
