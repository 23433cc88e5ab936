/// A row of things that are linked through themselves: adding one takes no memory, and so never
/// fails.
///
/// Private memory of the parent. Neighbours: the queues of both pools. Nothing of a worker reaches
/// here.
#pragma once

#include <cstddef>
#include <utility>

namespace libpool::detail {

/// `Pointer` owns a thing, which has a `Pointer behind` for the chain that it is in. Not
/// thread-safe.
template <class Pointer>
class Chain {
 public:
  using Thing = typename Pointer::element_type;

  Chain() = default;
  Chain(Chain&& other) noexcept { swap(other); }
  Chain& operator=(Chain&& other) noexcept {
    Chain(std::move(other)).swap(*this);
    return *this;
  }
  ~Chain() { clear(); }

  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] Pointer& front() noexcept { return first_; }

  void push_back(Pointer thing) noexcept {
    Thing* const added = thing.get();
    (last_ != nullptr ? last_->behind : first_) = std::move(thing);
    last_ = added;
    ++size_;
  }

  /// All of another, behind what is here.
  void append(Chain&& others) noexcept {
    if (others.empty()) return;
    (last_ != nullptr ? last_->behind : first_) = std::move(others.first_);
    last_ = std::exchange(others.last_, nullptr);
    size_ += std::exchange(others.size_, 0);
  }

  void push_front(Pointer thing) noexcept {
    if (last_ == nullptr) last_ = thing.get();
    thing->behind = std::move(first_);
    first_ = std::move(thing);
    ++size_;
  }

  Pointer pop_front() noexcept {
    Pointer thing = std::move(first_);
    first_ = std::move(thing->behind);
    if (first_ == nullptr) last_ = nullptr;
    --size_;
    return thing;
  }

  /// Takes out the things that `wanted(thing)` says, in their order.
  template <class Wanted>
  [[nodiscard]] Chain take_if(Wanted wanted) noexcept {
    Chain taken;
    last_ = nullptr;
    for (Pointer* link = &first_; *link != nullptr;) {
      if (wanted(std::as_const(**link))) {
        Pointer thing = std::move(*link);
        *link = std::move(thing->behind);
        --size_;
        taken.push_back(std::move(thing));
      } else {
        last_ = link->get();
        link = &last_->behind;
      }
    }
    return taken;
  }

  template <class Visit>
  void for_each(Visit visit) const {
    for (Thing* thing = first_.get(); thing != nullptr; thing = thing->behind.get()) visit(*thing);
  }

  /// One by one: a long chain that ended itself would do so recursively.
  void clear() noexcept {
    while (!empty()) pop_front();
  }

 private:
  void swap(Chain& other) noexcept {
    std::swap(first_, other.first_);
    std::swap(last_, other.last_);
    std::swap(size_, other.size_);
  }

  Pointer first_;
  Thing* last_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace libpool::detail
