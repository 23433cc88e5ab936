/// Inputs: what `map`, `starmap` and `apply` are given, as one typed, single-threaded sequence of
/// argument tuples.
///
/// Runs in the parent, on the thread that feeds the batch; no worker's death reaches it.
/// Neighbours: the pools' calls make sources, the process codec or the thread pool takes from them.
///
/// A Source has
/// - `Arguments`, `std::tuple<A...>`: the decayed types that travel, converted for f where it is
///   known;
/// - `Received`, `std::tuple<const A& or A&&...>`: how f receives each of them;
/// - `next(use, fail)`, which calls `use(a...)` for the next element, with `const A&` or with an
///   `A&&` that `use` may move from (that says nothing of what f receives), or `fail(error)` if the
///   element cannot be converted; false at the end. `use` must not throw: what escapes was thrown
///   by the input, and ends it;
/// - `size_hint()`: what the range claims; it may yield fewer, or more;
/// - where elements are trivially copyable, need no conversion and lie side by side, with
///   `contiguous()`, a span of what is left of the input, and `skip(n)`, to pass n of it;
/// - where elements stay where they are for as long as the source lives, with `keeps_elements`,
///   `next_element(use)`, which calls `use(Element*)` for the next element instead.
#pragma once

#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <libpool/detail/borrowing.hpp>
#include <libpool/detail/callable.hpp>

namespace libpool::detail {

// -- where the range lives -----------------------------------------------------------------------

/// An lvalue of the caller's, for calls that block: gone, perhaps, when the call has returned.
template <class Range>
class BorrowedRange {
 public:
  static constexpr bool moves = false;
  static constexpr bool owns = false;
  explicit BorrowedRange(Range& range) noexcept : range_(std::addressof(range)) {}
  Range& range() noexcept { return *range_; }

 private:
  Range* range_;
};

/// A container of the batch's own: a copy (`is_moved` false) or the caller's rvalue. A copy is
/// stepped through as const, where that can be.
template <class Container, bool is_moved>
class OwnedRange {
 public:
  static constexpr bool moves = is_moved;
  static constexpr bool owns = true;
  using Range = std::conditional_t<is_moved || !std::ranges::input_range<const Container>,
                                   Container, const Container>;
  template <class Given>
  explicit OwnedRange(std::in_place_t, Given&& given) : range_(std::forward<Given>(given)) {}
  Range& range() noexcept { return range_; }

 private:
  Container range_;
};

/// A view, kept as a view: what it refers to belongs to someone else.
template <class View>
class KeptView {
 public:
  static constexpr bool moves = false;
  static constexpr bool owns = false;
  template <class Given>
  explicit KeptView(std::in_place_t, Given&& given) : view_(std::forward<Given>(given)) {}
  View& range() noexcept { return view_; }

 private:
  View view_;
};

/// Chooses where a call's range lives, and how its elements are given to f.
template <bool blocking, class Given>
auto keep_range(Given&& given) {
  using Range = std::remove_reference_t<Given>;
  using Value = std::remove_cv_t<Range>;
  static_assert(std::ranges::input_range<Range>, "libpool: the input is not a range");
  constexpr bool lvalue = std::is_lvalue_reference_v<Given>;
  if constexpr (std::ranges::view<Value> && std::constructible_from<Value, Given>) {
    return KeptView<Value>(std::in_place, std::forward<Given>(given));
  } else if constexpr (lvalue && blocking) {
    return BorrowedRange<Range>(given);
  } else if constexpr (std::is_array_v<Range> || is_initializer_list<Value>) {
    // Neither owns its elements in a way that a copy would keep.
    using Element = std::remove_cv_t<std::ranges::range_value_t<Range>>;
    return OwnedRange<std::vector<Element>, false>(
        std::in_place, std::vector<Element>(std::ranges::begin(given), std::ranges::end(given)));
  } else {
    static_assert(std::constructible_from<Value, Given>,
                  "libpool: a call that does not block keeps its own copy of an lvalue container, "
                  "and this one cannot be copied: pass it with std::move.");
    constexpr bool moved = !lvalue && !std::is_const_v<Range>;
    return OwnedRange<Value, moved>(std::in_place, std::forward<Given>(given));
  }
}

// -- a cursor over a range -----------------------------------------------------------------------

/// Steps through a range, late: an element is asked for only when it is wanted, because a step may
/// block or compute. Nothing of the range is touched before the first step.
template <class Range>
class Cursor {
 public:
  /// Goes to the next element; false at the end, and again after it. After an exception it is at
  /// the end.
  bool advance(Range& range) {
    if (ended_) return false;
    ended_ = true;
    if (!position_) {
      position_.emplace(Position{std::ranges::begin(range), std::ranges::end(range)});
    } else {
      ++position_->iterator;
    }
    ended_ = position_->iterator == position_->sentinel;
    return !ended_;
  }
  decltype(auto) element() { return *position_->iterator; }
  void end() noexcept { ended_ = true; }

 private:
  struct Position {
    std::ranges::iterator_t<Range> iterator;
    std::ranges::sentinel_t<Range> sentinel;
  };
  std::optional<Position> position_;
  bool ended_ = false;
};

/// Steps through elements side by side. The distance of its ends is believed, never a `size()`.
template <class Range>
class ContiguousCursor {
 public:
  using Element = std::remove_reference_t<std::ranges::range_reference_t<Range>>;

  bool advance(Range& range) {
    if (left(range).empty()) return false;
    current_ = left_.data();
    left_ = left_.subspan(1);
    return true;
  }
  Element& element() { return *current_; }
  void end() noexcept { left_ = {}; }

  /// The elements after the current one.
  std::span<Element> left(Range& range) {
    if (!begun_) {
      begun_ = true;
      const auto begin = std::ranges::begin(range);
      const auto count = std::ranges::end(range) - begin;
      if (count > 0) left_ = {std::to_address(begin), static_cast<std::size_t>(count)};
    }
    return left_;
  }
  void skip(std::size_t count) noexcept { left_ = left_.subspan(count); }

 private:
  std::span<Element> left_;
  Element* current_ = nullptr;
  bool begun_ = false;
};

template <class Range>
concept SideBySide =
    std::ranges::contiguous_range<Range> &&
    std::sized_sentinel_for<std::ranges::sentinel_t<Range>, std::ranges::iterator_t<Range>>;

// -- from an element to arguments ----------------------------------------------------------------

/// How an element is given on: `T&&` of a moved-in container, `const T&` of any other lvalue, and
/// as it is where the range makes a temporary (a proxy becomes the range's value type).
template <class Range, bool moves>
struct Elements {
  using Reference = std::ranges::range_reference_t<Range>;
  static constexpr bool lvalue = std::is_reference_v<Reference>;
  using Element = std::remove_reference_t<Reference>;
  static constexpr bool movable = moves && lvalue && !std::is_const_v<Element>;
  using Given =
      std::conditional_t<lvalue, std::conditional_t<movable, Element&&, const Element&>,
                         std::conditional_t<std::same_as<std::remove_cv_t<Reference>,
                                                         std::ranges::range_value_t<Range>>,
                                            Reference, std::ranges::range_value_t<Range>>>;
};

template <class T>
concept TupleLike = requires { std::tuple_size<std::remove_cvref_t<T>>::value; };

/// `map`: the element is the one argument.
template <class F, class Given, bool moves>
struct OneArgument {
  using Value = passed_t<F, 0, Given>;
  using Arguments = std::tuple<Value>;
  using Received = std::tuple<received_t<F, 0, Given, moves>>;
  static constexpr bool converts = !std::same_as<Value, std::remove_cvref_t<Given>>;

  template <class From, class Use, class Fail>
  static void give(From&& element, Use&& use, Fail&& fail) {
    if constexpr (converts) {
      convert_and_give([&] { use(convert_argument<Value>(std::forward<From>(element))); }, fail);
    } else {
      use(std::forward<From>(element));
    }
  }
};

/// `starmap`: the element's components are the arguments.
template <class F, class Given, bool moves>
struct UnpackedArguments {
  static_assert(TupleLike<Given>,
                "libpool: starmap needs elements that are tuple-like (std::tuple, std::pair, "
                "std::array); map passes the element as it is.");
  using Tuple = std::remove_cvref_t<Given>;
  static constexpr bool converts = true;  ///< from one element to several arguments

  /// A component that is a reference refers to what someone else owns: it is never moved from.
  template <std::size_t I>
  using Component =
      std::conditional_t<std::is_reference_v<std::tuple_element_t<I, Tuple>>,
                         const std::remove_reference_t<std::tuple_element_t<I, Tuple>>&,
                         decltype(std::get<I>(std::declval<Given>()))>;
  template <class Indices>
  struct Types;
  template <std::size_t... I>
  struct Types<std::index_sequence<I...>> {
    using Arguments = std::tuple<passed_t<F, I, Component<I>>...>;
    using Received = std::tuple<received_t<F, I, Component<I>, moves>...>;
  };
  using Indices = std::make_index_sequence<std::tuple_size_v<Tuple>>;
  using Arguments = typename Types<Indices>::Arguments;
  using Received = typename Types<Indices>::Received;

  template <class From, class Use, class Fail>
  static void give(From&& element, Use&& use, Fail&& fail) {
    const auto unpack = [&]<std::size_t... I>(std::index_sequence<I...>) {
      use(convert_argument<std::tuple_element_t<I, Arguments>>(
          static_cast<Component<I>>(std::get<I>(std::forward<From>(element))))...);
    };
    convert_and_give([&] { unpack(Indices{}); }, fail);
  }
};

// -- sources -------------------------------------------------------------------------------------

/// The elements of a range, for `map` (`starmap`: UnpackedArguments). Movable until it is used.
template <class F, class Storage, template <class, class, bool> class Unpack = OneArgument>
class RangeSource {
  using Range = std::remove_reference_t<decltype(std::declval<Storage&>().range())>;
  using How = Elements<Range, Storage::moves>;
  using Given = typename How::Given;
  using Unpacked = Unpack<F, Given, Storage::moves>;
  using Cursor_ = std::conditional_t<SideBySide<Range>, ContiguousCursor<Range>, Cursor<Range>>;

 public:
  static constexpr bool single = false;
  static constexpr bool side_by_side = SideBySide<Range>;
  using Arguments = typename Unpacked::Arguments;
  using Received = typename Unpacked::Received;
  using Element =  // as const as f sees it
      std::conditional_t<How::movable, typename How::Element, const typename How::Element>;

  /// The elements are the caller's, who may leave; they can be copied under a `Borrowing`.
  static constexpr bool borrows =
      std::same_as<Storage, BorrowedRange<Range>> && !std::ranges::view<std::remove_cv_t<Range>> &&
      copied_plainly<std::remove_const_t<typename How::Element>> && sizeof(Element) <= 4096;
  /// Whether any thread can read the elements where they lie, and f wants them as they are.
  static constexpr bool keeps_elements = [] {
    if constexpr ((Storage::owns || borrows) && std::ranges::forward_range<Range> && How::lvalue) {
      if constexpr (Storage::moves && !How::movable) return false;
      return !Unpacked::converts;
    } else {
      return false;
    }
  }();

  explicit RangeSource(Storage storage) : storage_(std::move(storage)) {}

  [[nodiscard]] std::optional<std::size_t> size_hint() {
    if constexpr (std::ranges::sized_range<Range>) {
      return static_cast<std::size_t>(std::ranges::size(storage_.range()));
    } else {
      return std::nullopt;
    }
  }

  /// `fail` takes what the conversion of the element to arguments throws; the next one can be had.
  template <class Use, class Fail = Rethrow>
  bool next(Use&& use, Fail&& fail = {}) {
    return step([&] { Unpacked::give(static_cast<Given>(cursor_.element()), use, fail); });
  }

  template <class Use>
    requires(keeps_elements)
  bool next_element(Use&& use) {
    return step([&] { use(std::addressof(static_cast<Element&>(cursor_.element()))); });
  }

  [[nodiscard]] auto contiguous()
    requires(SideBySide<Range> && !Unpacked::converts &&
             std::is_trivially_copyable_v<std::remove_cv_t<typename How::Element>> &&
             std::is_copy_constructible_v<std::remove_cv_t<typename How::Element>>)
  {
    return std::span<const typename How::Element>(cursor_.left(storage_.range()));
  }
  void skip(std::size_t count) noexcept
    requires SideBySide<Range>
  {
    cursor_.skip(count);
  }

 private:
  /// What the range throws when it is asked for an element ends it, as what a step throws does.
  template <class Give>
  bool step(Give&& give) {
    if (!cursor_.advance(storage_.range())) return false;
    try {
      give();
    } catch (...) {
      cursor_.end();
      throw;
    }
    return true;
  }

  Storage storage_;
  Cursor_ cursor_;
};

/// The arguments of one `apply`: lvalues are copied here and received as `const A&`, rvalues as
/// `A&&`.
template <class F, class... Given>
class ArgumentsSource {
  template <class Indices>
  struct Types;
  template <std::size_t... I>
  struct Types<std::index_sequence<I...>> {
    using Arguments = std::tuple<passed_t<F, I, Given>...>;
    using Received = std::tuple<received_t<F, I, Given, !std::is_lvalue_reference_v<Given>>...>;
  };
  using Indices = std::index_sequence_for<Given...>;

 public:
  static constexpr bool keeps_elements = false;
  static constexpr bool side_by_side = false;
  using Arguments = typename Types<Indices>::Arguments;
  using Received = typename Types<Indices>::Received;

  static constexpr bool single = true;  ///< `arguments()` can be used instead of `next`

  /// Throws what copying or converting an argument throws.
  explicit ArgumentsSource(Given&&... given)
      : ArgumentsSource(Indices{}, std::forward<Given>(given)...) {}

  [[nodiscard]] static std::optional<std::size_t> size_hint() noexcept { return 1; }
  [[nodiscard]] Arguments& arguments() noexcept { return arguments_; }

  template <class Use, class Fail = Rethrow>
  bool next(Use&& use, Fail&& /*fail*/ = {}) {
    if (std::exchange(used_, true)) return false;
    std::apply([&](auto&... argument) { use(std::move(argument)...); }, arguments_);
    return true;
  }

 private:
  template <std::size_t... I, class... From>
  explicit ArgumentsSource(std::index_sequence<I...>, From&&... given)
      : arguments_(
            convert_argument<std::tuple_element_t<I, Arguments>>(std::forward<From>(given))...) {}

  Arguments arguments_;
  bool used_ = false;
};

template <class F, bool blocking, class Given>
auto make_source(Given&& given) {
  auto storage = keep_range<blocking>(std::forward<Given>(given));
  return RangeSource<std::decay_t<F>, decltype(storage)>(std::move(storage));
}
template <class F, bool blocking, class Given>
auto make_star_source(Given&& given) {
  auto storage = keep_range<blocking>(std::forward<Given>(given));
  return RangeSource<std::decay_t<F>, decltype(storage), UnpackedArguments>(std::move(storage));
}

template <class F, bool blocking, class Given>
using source_t = decltype(make_source<F, blocking>(std::declval<Given>()));
template <class F, bool blocking, class Given>
using star_source_t = decltype(make_star_source<F, blocking>(std::declval<Given>()));

}  // namespace libpool::detail
