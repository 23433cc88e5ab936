/// The exception types that keep their type between processes, and the classes that they arrive as.
///
/// Runs in both processes: a worker finds the row of what was thrown, the parent makes an object by
/// it. Neighbours: `exception_codec.cpp`, which writes and reads the records around it. The table
/// is filled before a pool's processes are forked, so that all have the same.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <exception>
#include <future>
#include <memory>
#include <regex>
#include <string>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include <sys/types.h>

#include <libpool/codec/codec.hpp>
#include <libpool/codec/payload.hpp>
#include <libpool/detail/error_types.hpp>
#include <libpool/detail/export.hpp>

namespace libpool::codec {

/// What an exception's record says, and where it comes from.
struct RemoteRecord {
  std::string type_name;  ///< of what was thrown, demangled
  std::string what;
  std::exception_ptr nested = nullptr;  ///< its cause
  pid_t pid = 0;
  std::size_t index = 0;
};

// -- what an exception carries beside its text ---------------------------------------------------

template <class E>
struct ExceptionState {
  static_assert(std::is_class_v<E> && !std::is_final_v<E>,
                "libpool: an exception that keeps its type is a class that is not final");
  static_assert(
      std::is_constructible_v<E, const std::string&> || std::is_default_constructible_v<E>,
      "libpool: an exception that keeps its type is constructible from const std::string&, "
      "or by default");

  static void save(PayloadWriter& out, const E& error) {
    if constexpr (OwnSerialize<E>) {
      Encoder encoder(out);
      encoder.archive() << error;
    }
  }
  static E make(PayloadReader& in, const RemoteRecord& record) {
    E error = from_text(record.what);
    if constexpr (OwnSerialize<E>) {
      Decoder decoder(in);
      decoder.archive() >> error;
    }
    return error;
  }

 private:
  static E from_text(const std::string& what) {
    if constexpr (std::is_constructible_v<E, const std::string&>) {
      return E(what);
    } else {
      (void)what;  // an override of what() gives it
      return E();
    }
  }
};

/// An error code travels as its value and the name of its category. Categories of the standard
/// library and registered ones arrive as themselves, others as one that has the same name and says
/// little more.
LIBPOOL_EXPORT void save_code(PayloadWriter& out, const std::error_code& code);
[[nodiscard]] LIBPOOL_EXPORT std::error_code load_code(PayloadReader& in);
/// For `libpool::register_error_category`.
LIBPOOL_EXPORT void register_category(const std::error_category& category);

/// What was given to the constructor of a `system_error`, which appends the code's message to it.
[[nodiscard]] LIBPOOL_EXPORT std::string without_message(const std::string& what,
                                                         const std::error_code& code);

template <class E>
  requires std::same_as<E, std::system_error> || std::same_as<E, std::ios_base::failure>
struct ExceptionState<E> {
  static void save(PayloadWriter& out, const E& error) { save_code(out, error.code()); }
  static E make(PayloadReader& in, const RemoteRecord& record) {
    const std::error_code code = load_code(in);
    const std::string text = without_message(record.what, code);
    if constexpr (std::same_as<E, std::system_error>) {
      return E(code, text);
    } else {
      return E(text, code);
    }
  }
};

template <>
struct ExceptionState<std::filesystem::filesystem_error> {
  using Error = std::filesystem::filesystem_error;
  static void save(PayloadWriter& out, const Error& error) {
    save_code(out, error.code());
    encode(out, error.path1());
    encode(out, error.path2());
  }
  static Error make(PayloadReader& in, const RemoteRecord& record) {
    const std::error_code code = load_code(in);
    auto first = decode<std::filesystem::path>(in);
    auto second = decode<std::filesystem::path>(in);
    return Error(record.what, first, second, code);
  }
};

template <>
struct ExceptionState<std::future_error> {
  static void save(PayloadWriter& out, const std::future_error& error) {
    encode(out, error.code().value());
  }
  static std::future_error make(PayloadReader& in, const RemoteRecord&) {
    return std::future_error(static_cast<std::future_errc>(decode<int>(in)));
  }
};

template <>
struct ExceptionState<std::regex_error> {
  static void save(PayloadWriter& out, const std::regex_error& error) {
    encode(out, int{error.code()});
  }
  static std::regex_error make(PayloadReader& in, const RemoteRecord&) {
    const int code = decode<int>(in);
    if (code < 0 || code > int{std::regex_constants::error_stack}) {
      throw CorruptPayload("there is no such regex error");
    }
    return std::regex_error(static_cast<std::regex_constants::error_type>(code));
  }
};

template <>
struct ExceptionState<SerializationError> {
  static void save(PayloadWriter& out, const SerializationError& error) {
    encode(out, error.type_name());
  }
  static SerializationError make(PayloadReader& in, const RemoteRecord& record) {
    return {record.what, decode<std::string>(in)};
  }
};

template <>
struct ExceptionState<WorkerCrashed> {
  static void save(PayloadWriter& out, const WorkerCrashed& error) {
    encode(out, error.pid());
    encode(out, error.signal());
    encode(out, error.exit_status());
    encode(out, error.index());
  }
  static WorkerCrashed make(PayloadReader& in, const RemoteRecord& record) {
    const auto pid = decode<pid_t>(in);
    const auto signal = decode<std::optional<int>>(in);
    const auto exit_status = decode<std::optional<int>>(in);
    return {record.what, pid, signal, exit_status, decode<std::size_t>(in)};
  }
};

template <>
struct ExceptionState<TaskTimeout> {
  static void save(PayloadWriter& out, const TaskTimeout& error) { encode(out, error.index()); }
  static TaskTimeout make(PayloadReader& in, const RemoteRecord& record) {
    return {record.what, decode<std::size_t>(in)};
  }
};

/// Its cause travels as nested causes do.
template <>
struct ExceptionState<PoolBroken> {
  static void save(PayloadWriter&, const PoolBroken&) {}
  static PoolBroken make(PayloadReader&, const RemoteRecord& record) {
    return {record.what, record.nested};
  }
};

// -- what arrives --------------------------------------------------------------------------------

/// An E that was thrown elsewhere. Its `what()` is the original text, also where E would say
/// something else.
template <class E>
class LIBPOOL_EXPORT Remote : public E, public RemoteOrigin {
 public:
  Remote(const E& error, RemoteRecord record)
      : E(error),
        RemoteOrigin(record.pid, std::move(record.type_name), record.index),
        what_(std::make_shared<const std::string>(std::move(record.what))) {}

  [[nodiscard]] const char* what() const noexcept override { return what_->c_str(); }

 private:
  std::shared_ptr<const std::string>
      what_;  ///< shared, so that copying an exception does not throw
};

/// One that is no `std::exception` has no text.
template <class E>
  requires(!std::is_base_of_v<std::exception, E>)
class LIBPOOL_EXPORT Remote<E> : public E, public RemoteOrigin {
 public:
  Remote(E error, RemoteRecord record)
      : E(std::move(error)), RemoteOrigin(record.pid, std::move(record.type_name), record.index) {}
};

/// One that has a cause: made while that is handled, so that `std::rethrow_if_nested` finds it.
template <class E>
class LIBPOOL_EXPORT RemoteNested : public Remote<E>, public std::nested_exception {
 public:
  using Remote<E>::Remote;
};

/// Never returns: the exception that it throws is the result.
template <class E>
[[noreturn]] void throw_remote(PayloadReader& state, RemoteRecord record) {
  E error = ExceptionState<E>::make(state, record);
  if (record.nested == nullptr || std::is_same_v<E, PoolBroken>) {
    throw Remote<E>(std::move(error), std::move(record));
  }
  try {
    std::rethrow_exception(record.nested);
  } catch (...) {
    if constexpr (std::is_base_of_v<std::nested_exception, E>) {
      // E holds what was handled when it was made: it is made again.
      throw Remote<E>(E(std::move(error)), std::move(record));
    } else {
      throw RemoteNested<E>(std::move(error), std::move(record));
    }
  }
}

// -- the table -----------------------------------------------------------------------------------

/// A row: one type that keeps its type.
struct ExceptionType {
  const char* key;  ///< the mangled name, by which records name it
  /// E, and the classes that carry an E: of `std::throw_with_nested`, and those above.
  std::array<const std::type_info*, 4> types;
  /// Writes the state of the exception being handled, which is one of `types`.
  void (*save_state)(PayloadWriter& out);
  /// Throws an E as it was thrown elsewhere, or what making it throws.
  void (*throw_remote)(PayloadReader& state, RemoteRecord record);
  ExceptionType* next = nullptr;  ///< in the list of registered types
};

template <class E>
inline ExceptionType exception_type{
    .key = typeid(E).name(),
    .types = {&typeid(E), &typeid(std::_Nested_exception<E>), &typeid(Remote<E>),
              &typeid(RemoteNested<E>)},
    .save_state =
        [](PayloadWriter& out) {
          try {
            throw;
          } catch (const E& error) {
            ExceptionState<E>::save(out, error);
          }
        },
    .throw_remote = &throw_remote<E>,
};

/// Adds a row of static lifetime to the table, once. Without locks and allocations; thread-safe.
LIBPOOL_EXPORT void register_exception_type(ExceptionType& type) noexcept;

/// The row of what was thrown, or null: by its exact type. A type of namespace `std` that has no
/// row (the library's private ones, such as that of `std::ios_base::failure`) counts as the
/// standard exception it derives from.
[[nodiscard]] const ExceptionType* find_exception_type(const std::type_info& thrown,
                                                       const std::exception* error) noexcept;
/// The row of this key, or null.
[[nodiscard]] const ExceptionType* find_exception_type(const char* key) noexcept;

}  // namespace libpool::codec
