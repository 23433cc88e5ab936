/// Archives of our own for Boost.Serialization: what a user's `serialize` sees as `ar`.
///
/// Runs in both processes, inside an encode or a decode of one value. The encoder (`coder.hpp`)
/// makes one when the value holds the first class with a `serialize`; what such a class gives to
/// `ar` comes back to the codec (`values.hpp`). A death here leaves an unpublished payload.
///
/// The base classes are Boost's because its registries of exported classes know archives by them;
/// their bookkeeping is not used. `save_object`, `save_pointer` and the like below hide the
/// functions of the base, and Boost's templates call them on the concrete archive. So there is no
/// archive header, no class record, and nothing from a payload is used as an index before it has
/// been checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include <boost/archive/detail/basic_iarchive.hpp>
#include <boost/archive/detail/basic_oarchive.hpp>
#include <boost/archive/detail/interface_iarchive.hpp>
#include <boost/archive/detail/interface_oarchive.hpp>
#include <boost/archive/detail/register_archive.hpp>

#include <libpool/detail/export.hpp>

namespace libpool::codec {

class Encoder;
class Decoder;

/// How an object or a pointer begins in a payload.
enum class Mark : std::uint8_t {
  null = 0,   ///< a null pointer
  plain = 1,  ///< an object that is not tracked; its data follows
  fresh =
      2,  ///< a tracked object that occurs for the first time; it has the next id, its data follows
  again = 3,  ///< a tracked object that occurred before; its 64-bit id follows
};

/// The output archive. Lives for one value. Not thread-safe.
class LIBPOOL_EXPORT OutputArchive
    : public boost::archive::detail::basic_oarchive,
      public boost::archive::detail::interface_oarchive<OutputArchive> {
 public:
  explicit OutputArchive(Encoder& encoder);
  ~OutputArchive() override;

  /// What `ar & value` does; defined in `values.hpp`.
  template <class T>
  void save_override(const T& value);

  /// `bytes` raw bytes, for Boost's `make_binary_object`.
  void save_binary(const void* data, std::size_t bytes);

  // -- called by Boost's templates ----------------------------------------------------------------
  void register_basic_serializer(const boost::archive::detail::basic_oserializer& serializer);
  void save_object(const void* object, const boost::archive::detail::basic_oserializer& serializer);
  void save_pointer(const void* object,
                    const boost::archive::detail::basic_pointer_oserializer* serializer);

 private:
  friend class boost::archive::detail::interface_oarchive<OutputArchive>;
  using Serializer = boost::archive::detail::basic_oserializer;

  struct Tracked {
    std::uint64_t id = 0;
    bool through_pointer = false;
  };

  void put(Mark mark);
  void put_class(const Serializer& serializer);

  // Boost calls one of these, for a null pointer; the others belong to records that we do not
  // write.
  void vsave(boost::archive::class_id_type id) override;
  void vsave(boost::archive::version_type) override {}
  void vsave(boost::archive::object_id_type) override {}
  void vsave(boost::archive::object_reference_type) override {}
  void vsave(boost::archive::class_id_optional_type) override {}
  void vsave(boost::archive::class_id_reference_type) override {}
  void vsave(const boost::archive::class_name_type&) override {}
  void vsave(boost::archive::tracking_type) override {}

  Encoder& encoder_;
  std::map<std::pair<const void*, const Serializer*>, Tracked> objects_;
  std::vector<const Serializer*> classes_;  ///< polymorphic classes that are known to both sides
  const void* pending_object_ = nullptr;    ///< its mark is written, its data comes next
  const Serializer* pending_serializer_ = nullptr;
};

/// The input archive. Lives for one value. What it created and handed to nobody it destroys. Not
/// thread-safe.
class LIBPOOL_EXPORT InputArchive
    : public boost::archive::detail::basic_iarchive,
      public boost::archive::detail::interface_iarchive<InputArchive> {
 public:
  explicit InputArchive(Decoder& decoder);
  ~InputArchive() override;

  /// What `ar & value` does; defined in `values.hpp`.
  template <class T>
  void load_override(T& value);

  /// `bytes` raw bytes, for Boost's `make_binary_object`.
  void load_binary(void* data, std::size_t bytes);

  /// The object at `from` was moved to `to` after it had been loaded, with all that lies in it.
  void reset_object_address(const void* to, const void* from);

  // -- called by Boost's templates ----------------------------------------------------------------
  using PointerSerializer = boost::archive::detail::basic_pointer_iserializer;
  using Finder = const PointerSerializer* (*)(const boost::serialization::extended_type_info&);
  void register_basic_serializer(const boost::archive::detail::basic_iserializer& serializer);
  void load_object(void* object, const boost::archive::detail::basic_iserializer& serializer);
  const PointerSerializer* load_pointer(void*& object, const PointerSerializer* expected,
                                        Finder find);

  // -- who owns the object of the pointer that was loaded last -----------------------------------
  /// A raw pointer in a user's class does.
  void deliver_raw() noexcept;
  /// One `unique_ptr` does. Throws `CorruptPayload` if something else already does.
  void deliver_unique();
  /// All `shared_ptr`s to it do. Throws `CorruptPayload` if a `unique_ptr` does.
  template <class T>
  std::shared_ptr<T> deliver_shared(T* pointer) {
    std::shared_ptr<void>& owner = owner_to_share();
    if (owner == nullptr) owner = std::shared_ptr<T>(pointer, destroyer());
    return std::shared_ptr<T>(owner, pointer);
  }

 private:
  friend class boost::archive::detail::interface_iarchive<InputArchive>;
  using Serializer = boost::archive::detail::basic_iserializer;

  /// An object on the heap that a pointer was loaded to.
  struct Created {
    const Serializer* serializer = nullptr;
    std::shared_ptr<void> owner = nullptr;
    bool constructed = false;
    bool delivered = false;  ///< somebody has its address: destroying it is no longer ours
    bool unique = false;
  };
  struct Tracked {
    void* object = nullptr;
    const Serializer* serializer = nullptr;
    bool through_pointer = false;
  };
  /// Destroys an object by the class that it was created as, whatever base points to it.
  struct Destroyer {
    void* object;
    const Serializer* serializer;
    void operator()(const void*) const;
  };

  Mark take_mark();
  const Tracked& take_tracked();
  const PointerSerializer& take_class(const PointerSerializer* expected, Finder find);
  void create(const PointerSerializer& serializer, bool tracked);
  std::shared_ptr<void>& owner_to_share();
  Destroyer destroyer() const;

  void vload(boost::archive::version_type&) override {}
  void vload(boost::archive::object_id_type&) override {}
  void vload(boost::archive::class_id_type&) override {}
  void vload(boost::archive::class_id_optional_type&) override {}
  void vload(boost::archive::class_name_type&) override {}
  void vload(boost::archive::tracking_type&) override {}

  Decoder& decoder_;
  std::vector<Tracked> objects_;            ///< by id
  std::vector<const Serializer*> classes_;  ///< polymorphic classes that are known to both sides
  std::unordered_map<void*, Created> created_;
  void* last_pointer_ = nullptr;    ///< what the last pointer that was loaded points to
  void* pending_object_ = nullptr;  ///< its mark is read, its data comes next
  const Serializer* pending_serializer_ = nullptr;
};

}  // namespace libpool::codec

BOOST_SERIALIZATION_REGISTER_ARCHIVE(libpool::codec::OutputArchive)
BOOST_SERIALIZATION_REGISTER_ARCHIVE(libpool::codec::InputArchive)
