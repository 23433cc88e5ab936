/// The rows of the standard exceptions and of the library's own, the list of registered ones, and
/// the categories of error codes.
///
/// Runs in both processes. Nothing here takes a lock that a fork could leave held. A death here
/// leaves nothing.
#include <libpool/codec/exception_table.hpp>

#include <any>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <variant>

namespace libpool::codec {

namespace {

/// Derived classes before their bases, for the search by base.
ExceptionType* const built_in[] = {
    // <stdexcept>
    &exception_type<std::invalid_argument>,
    &exception_type<std::domain_error>,
    &exception_type<std::length_error>,
    &exception_type<std::out_of_range>,
    &exception_type<std::range_error>,
    &exception_type<std::overflow_error>,
    &exception_type<std::underflow_error>,
    // <filesystem>, <ios>, <system_error>, <future>, <regex>
    &exception_type<std::filesystem::filesystem_error>,
    &exception_type<std::ios_base::failure>,
    &exception_type<std::system_error>,
    &exception_type<std::future_error>,
    &exception_type<std::regex_error>,
    // <new>, <any>, <typeinfo>, <variant>, <optional>, <functional>, <memory>
    &exception_type<std::bad_array_new_length>,
    &exception_type<std::bad_alloc>,
    &exception_type<std::bad_any_cast>,
    &exception_type<std::bad_cast>,
    &exception_type<std::bad_typeid>,
    &exception_type<std::bad_variant_access>,
    &exception_type<std::bad_optional_access>,
    &exception_type<std::bad_function_call>,
    &exception_type<std::bad_weak_ptr>,
    &exception_type<std::bad_exception>,
    // the library's own
    &exception_type<TaskError>,
    &exception_type<WorkerCrashed>,
    &exception_type<TaskTimeout>,
    &exception_type<TaskCancelled>,
    &exception_type<PoolClosed>,
    &exception_type<PoolTerminated>,
    &exception_type<PoolBroken>,
    &exception_type<SerializationError>,
    &exception_type<TimeoutError>,
    &exception_type<PoolError>,
    // the bases
    &exception_type<std::runtime_error>,
    &exception_type<std::logic_error>,
    &exception_type<std::exception>,
};

std::atomic<ExceptionType*> registered{nullptr};

/// Calls `is_wanted` with the rows, registered ones first, until it returns true.
template <class IsWanted>
const ExceptionType* find_row(IsWanted is_wanted) noexcept {
  for (const ExceptionType* row = registered.load(); row != nullptr; row = row->next) {
    if (is_wanted(*row)) return row;
  }
  for (const ExceptionType* row : built_in) {
    if (is_wanted(*row)) return row;
  }
  return nullptr;
}

/// Whether an object whose class is `derived` has a public base `base`.
bool derives_from(const std::exception& error, const std::type_info& derived,
                  const std::type_info& base) {
  // The C++ runtime's own question, asked when it looks for a handler.
  void* object = const_cast<void*>(dynamic_cast<const void*>(&error));
  return base.__do_catch(&derived, &object, 1);
}

}  // namespace

void register_exception_type(ExceptionType& type) noexcept {
  if (find_exception_type(type.key) != nullptr) return;
  ExceptionType* head = registered.load();
  do {
    type.next = head;
  } while (!registered.compare_exchange_weak(head, &type));
}

const ExceptionType* find_exception_type(const std::type_info& thrown,
                                         const std::exception* error) noexcept {
  const ExceptionType* exact = find_row([&](const ExceptionType& row) {
    for (const std::type_info* type : row.types) {
      if (*type == thrown) return true;
    }
    return false;
  });
  // "St" begins the mangled names of what lies directly in namespace std, "NSt" of what lies
  // deeper.
  const char* name = thrown.name();
  const bool is_std = (std::strncmp(name, "St", 2) == 0 || std::strncmp(name, "NSt", 3) == 0) &&
                      std::strstr(name, "_Nested_exception") == nullptr;  // that wraps any class
  if (exact != nullptr || error == nullptr || !is_std) return exact;
  for (const ExceptionType* row : built_in) {
    if (derives_from(*error, thrown, *row->types[0])) return row;
  }
  return nullptr;
}

const ExceptionType* find_exception_type(const char* key) noexcept {
  return find_row([&](const ExceptionType& row) { return std::strcmp(row.key, key) == 0; });
}

// -- error codes ---------------------------------------------------------------------------------

namespace {

/// Stands for a category that nobody has registered.
class ForeignCategory final : public std::error_category {
 public:
  explicit ForeignCategory(std::string name) : name_(std::move(name)) {}
  [[nodiscard]] const char* name() const noexcept override { return name_.c_str(); }
  [[nodiscard]] std::string message(int value) const override {
    return name_ + " error " + std::to_string(value);
  }

 private:
  std::string name_;
};

/// The known categories beside the standard ones, the newest first. A list that only grows, without
/// a lock that a fork could leave held.
struct KnownCategory {
  const std::error_category* category;
  KnownCategory* next;
};
std::atomic<KnownCategory*> known_categories{nullptr};

/// Categories live as long as the process, because codes refer to them; so there is a bound on
/// foreign ones, past which codes arrive in the generic category.
constexpr std::size_t max_foreign_categories = 1024;
constexpr std::size_t max_category_name = 256;

const std::error_category* find_category(const std::string& name, KnownCategory* newest) {
  for (const std::error_category* standard : {&std::generic_category(), &std::system_category(),
                                              &std::iostream_category(), &std::future_category()}) {
    if (name == standard->name()) return standard;
  }
  for (; newest != nullptr; newest = newest->next) {
    if (name == newest->category->name()) return newest->category;
  }
  return nullptr;
}

const std::error_category& category_named(const std::string& name) {
  static std::atomic<std::size_t> foreign{0};
  KnownCategory* newest = known_categories.load();
  if (const auto* found = find_category(name, newest)) return *found;
  if (name.size() > max_category_name || foreign.fetch_add(1) >= max_foreign_categories) {
    return std::generic_category();
  }
  auto category = std::make_unique<ForeignCategory>(name);
  std::unique_ptr<KnownCategory> node(new KnownCategory{category.get(), newest});
  while (!known_categories.compare_exchange_weak(node->next, node.get())) {
    if (const auto* found = find_category(name, node->next)) return *found;  // another was faster
  }
  std::ignore = node.release();  // never destroyed: codes may outlive all
  return *category.release();
}

}  // namespace

void save_code(PayloadWriter& out, const std::error_code& code) {
  encode(out, code.value());
  const std::string_view name = code.category().name();
  encode(out, std::uint64_t{name.size()});
  out.write(name.data(), name.size());
}

std::error_code load_code(PayloadReader& in) {
  const int value = decode<int>(in);
  return {value, category_named(decode<std::string>(in))};
}

void register_category(const std::error_category& category) {
  std::unique_ptr<KnownCategory> node(new KnownCategory{&category, known_categories.load()});
  for (const KnownCategory* known = node->next; known != nullptr; known = known->next) {
    if (known->category == &category) return;
  }
  while (!known_categories.compare_exchange_weak(node->next, node.get())) {
  }
  std::ignore = node.release();
}

std::string without_message(const std::string& what, const std::error_code& code) {
  const std::string message = code.message();
  if (what == message) return {};
  const std::string suffix = ": " + message;
  return what.ends_with(suffix) ? what.substr(0, what.size() - suffix.size()) : what;
}

}  // namespace libpool::codec
