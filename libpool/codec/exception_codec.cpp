/// The records of exceptions, written and read.
///
/// Writing runs in a worker, in the place where a task's exception ends; reading in the parent.
/// Neighbours: the table of types that keep their type. A death here leaves an unpublished record.
#include <libpool/codec/exception_codec.hpp>

#include <cxxabi.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <libpool/codec/exception_table.hpp>
#include <libpool/codec/type_name.hpp>
#include <libpool/detail/forced_unwind.hpp>

namespace libpool::codec {

namespace {

// -- writing -------------------------------------------------------------------------------------

/// A small payload on the stack, which continues on the heap.
class StateWriter final : public ContiguousWriter {
 public:
  StateWriter() noexcept {
    begin_ = cursor_ = inline_.data();
    end_ = begin_ + inline_.size();
  }
  ~StateWriter() override = default;

 private:
  void make_room(std::size_t wanted) override {
    const auto used = static_cast<std::size_t>(cursor_ - begin_);
    const std::size_t size = std::max(2 * used, used + wanted);
    auto grown = std::make_unique<std::byte[]>(size);
    std::memcpy(grown.get(), begin_, used);
    heap_ = std::move(grown);
    begin_ = heap_.get();
    cursor_ = begin_ + used;
    end_ = begin_ + size;
  }

  std::array<std::byte, 512> inline_;
  std::unique_ptr<std::byte[]> heap_;
};

void put_text(PayloadWriter& out, std::string_view text) {
  const std::uint64_t count = text.size();
  out.write(&count, sizeof count);
  out.write(text.data(), text.size());
}

/// A demangled name, or the mangled one when there is no memory for it.
class Name {
 public:
  explicit Name(const std::type_info& type) noexcept : mangled_(type.name()) {
    int status = 0;
    demangled_.reset(abi::__cxa_demangle(mangled_, nullptr, nullptr, &status));
  }
  /// Without the wrapper that `std::throw_with_nested` puts around a class.
  [[nodiscard]] std::string_view text() const noexcept {
    constexpr std::string_view wrapper = "std::_Nested_exception<";
    std::string_view name = demangled_ ? demangled_.get() : mangled_;
    if (name.starts_with(wrapper) && name.ends_with('>')) {
      name = name.substr(wrapper.size(), name.size() - wrapper.size() - 1);
      while (name.ends_with(' ')) name.remove_suffix(1);
    }
    return name;
  }

 private:
  const char* mangled_;
  std::unique_ptr<char, decltype(&std::free)> demangled_{nullptr, &std::free};
};

/// The text of a thrown object that is no `std::exception`.
void put_value(PayloadWriter& out, std::string_view type, std::string_view value) {
  constexpr std::string_view between = ": ";
  const std::uint64_t count = type.size() + (value.empty() ? 0 : between.size() + value.size());
  out.write(&count, sizeof count);
  out.write(type.data(), type.size());
  if (value.empty()) return;
  out.write(between.data(), between.size());
  out.write(value.data(), value.size());
}

template <class T>
void put_number(PayloadWriter& out, std::string_view type, const char* format, T value) {
  char text[64];
  const int length = std::snprintf(text, sizeof text, format, value);
  put_value(out, type, {text, static_cast<std::size_t>(std::max(length, 0))});
}

/// The handled exception is no `std::exception`: its type and, where there is a usual way to print
/// it, its value.
void put_foreign_text(PayloadWriter& out, std::string_view type) {
  try {
    throw;
  } catch (const std::string& text) {
    put_value(out, type, text);
  } catch (std::string_view text) {
    put_value(out, type, text);
  } catch (const char* text) {
    put_value(out, type, text != nullptr ? text : "");
  } catch (bool value) {
    put_value(out, type, value ? "true" : "false");
  } catch (char value) {
    put_value(out, type, {&value, 1});
  } catch (int value) {
    put_number(out, type, "%d", value);
  } catch (unsigned value) {
    put_number(out, type, "%u", value);
  } catch (long value) {
    put_number(out, type, "%ld", value);
  } catch (unsigned long value) {
    put_number(out, type, "%lu", value);
  } catch (long long value) {
    put_number(out, type, "%lld", value);
  } catch (unsigned long long value) {
    put_number(out, type, "%llu", value);
  } catch (float value) {
    put_number(out, type, "%g", static_cast<double>(value));
  } catch (double value) {
    put_number(out, type, "%g", value);
  } catch (...) {
    put_value(out, type, {});
  }
}

/// What can be asked of the exception being handled; pointers live as long as it does.
struct Handled {
  const std::type_info* type = nullptr;
  const std::exception* error = nullptr;  ///< null if it is none
  const RemoteOrigin* origin = nullptr;   ///< null unless it came from another process
  std::exception_ptr cause = nullptr;
};

Handled inspect() {
  Handled handled;
  handled.type = abi::__cxa_current_exception_type();
  try {
    throw;
  } catch (const std::exception& error) {
    handled.error = &error;
    handled.origin = dynamic_cast<const RemoteOrigin*>(&error);
    if (const auto* nested = dynamic_cast<const std::nested_exception*>(&error)) {
      handled.cause = nested->nested_ptr();
    }
    if (const auto* broken = dynamic_cast<const PoolBroken*>(&error))
      handled.cause = broken->cause();
  } catch (const std::nested_exception& nested) {
    handled.cause = nested.nested_ptr();
  } catch (...) {  // nothing more is known
  }
  return handled;
}

/// The row whose state could be written, or that of `TaskError`, which has none.
LIBPOOL_CATCHES_FORCED_UNWIND const ExceptionType& save_state(const Handled& handled,
                                                              StateWriter& state) {
  const ExceptionType* row =
      handled.type != nullptr ? find_exception_type(*handled.type, handled.error) : nullptr;
  if (row != nullptr) {
    try {
      row->save_state(state);
      return *row;
    } catch (abi::__forced_unwind&) {
      throw;
    } catch (...) {  // a `serialize` threw, or memory is short: the text still travels
      state.rewind(0);
    }
  }
  return exception_type<TaskError>;
}

/// Writes the record of the exception being handled; returns its cause.
std::exception_ptr put_handled(PayloadWriter& out) {
  Handled handled = inspect();
  StateWriter state;
  const ExceptionType& row = save_state(handled, state);
  const Name name(handled.type != nullptr ? *handled.type : typeid(void));
  const std::string_view type =
      handled.origin != nullptr ? std::string_view(handled.origin->type_name()) : name.text();
  put_text(out, row.key);
  put_text(out, type);
  if (handled.error != nullptr) {
    const char* what = handled.error->what();
    put_text(out, what != nullptr ? what : "");
  } else {
    put_foreign_text(out, type);
  }
  const auto bytes = state.written();
  put_text(out, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  return std::move(handled.cause);
}

// -- reading -------------------------------------------------------------------------------------

std::string take_text(PayloadReader& in) {
  std::uint64_t count = 0;
  in.read(&count, sizeof count);
  if (count > in.remaining()) throw PayloadUnderrun();
  std::string text(static_cast<std::size_t>(count), '\0');
  in.read(text.data(), text.size());
  return text;
}

std::exception_ptr decode_record(PayloadReader& in, pid_t pid, std::size_t index,
                                 std::size_t depth) {
  if (depth > max_causes) throw CorruptPayload("an exception has too many causes");
  const std::string key = take_text(in);
  RemoteRecord record{
      .type_name = take_text(in), .what = take_text(in), .pid = pid, .index = index};
  const std::string state = take_text(in);
  std::uint8_t has_cause = 0;
  in.read(&has_cause, sizeof has_cause);
  if (has_cause > 1) throw CorruptPayload("a flag is neither false nor true");
  if (has_cause == 1) record.nested = decode_record(in, pid, index, depth + 1);

  const ExceptionType* row = find_exception_type(key.c_str());
  if (row != nullptr) {
    try {
      PayloadReader reader(std::as_bytes(std::span(state)));
      row->throw_remote(reader, record);
    } catch (const RemoteOrigin&) {
      return std::current_exception();
    } catch (...) {  // its state cannot be decoded: the text is still there
    }
  }
  try {
    PayloadReader none;
    exception_type<TaskError>.throw_remote(none, std::move(record));
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;  // not reached: `throw_remote` throws
}

}  // namespace

void encode_exception(PayloadWriter& out, std::exception_ptr error) {
  for (std::size_t causes = 0;; ++causes) {
    try {
      std::rethrow_exception(std::move(error));
    } catch (...) {
      error = put_handled(out);
    }
    const std::uint8_t has_cause = error != nullptr && causes < max_causes ? 1 : 0;
    out.write(&has_cause, sizeof has_cause);
    if (has_cause == 0) return;
  }
}

std::exception_ptr decode_exception(PayloadReader in, pid_t pid, std::size_t index) noexcept {
  try {
    return decode_record(in, pid, index, 0);
  } catch (...) {
    try {
      throw_decoding_failed(typeid(std::exception));
    } catch (...) {
      return std::current_exception();
    }
  }
}

}  // namespace libpool::codec
