/// What goes wrong in the codec, told as a `SerializationError`.
///
/// Runs in both processes, inside a catch clause of `encode` or `decode`. A death here leaves an
/// unpublished payload.
#include <libpool/codec/codec.hpp>

#include <exception>
#include <string>

#include <libpool/codec/type_name.hpp>

namespace libpool::codec {

namespace {

[[noreturn]] void throw_failed(const std::type_info& type, const char* verb) {
  std::string name = type_name(type);
  const std::string what = name + " cannot be " + verb;
  try {
    throw;
  } catch (const SerializationError&) {
    throw;
  } catch (const std::exception& error) {
    throw SerializationError(what + ": " + error.what(), std::move(name));
  } catch (...) {
    const std::type_info* thrown = abi::__cxa_current_exception_type();
    const std::string thrown_name = thrown != nullptr ? type_name(*thrown) : "something foreign";
    throw SerializationError(what + ": " + thrown_name + " was thrown", std::move(name));
  }
}

}  // namespace

void throw_encoding_failed(const std::type_info& type) { throw_failed(type, "encoded"); }

void throw_decoding_failed(const std::type_info& type) { throw_failed(type, "decoded"); }

}  // namespace libpool::codec
