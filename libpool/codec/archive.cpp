/// The untyped half of the archives: marks, tracking, classes of polymorphic pointers.
///
/// Runs in both processes, inside an encode or a decode of one value. Neighbours: Boost's
/// serializers, which call in here with every object and pointer, and the coders. A death here
/// leaves an unpublished payload.
#include <libpool/codec/archive.hpp>

#include <algorithm>
#include <new>

#include <boost/archive/archive_exception.hpp>
#include <boost/archive/impl/archive_serializer_map.ipp>
#include <boost/serialization/extended_type_info.hpp>
#include <boost/serialization/state_saver.hpp>

#include <libpool/codec/coder.hpp>

namespace libpool::codec {

namespace {

using boost::archive::archive_exception;
using boost::serialization::state_saver;

/// The place of `serializer` in `classes`, which is its length for a class not yet there.
template <class Serializer>
std::size_t place_of(const std::vector<const Serializer*>& classes, const Serializer& serializer) {
  return static_cast<std::size_t>(std::ranges::find(classes, &serializer) - classes.begin());
}

unsigned int version_of(const boost::archive::detail::basic_iserializer& serializer) {
  const boost::archive::version_type version = serializer.version();
  return version;
}

}  // namespace

// -- output --------------------------------------------------------------------------------------

OutputArchive::OutputArchive(Encoder& encoder)
    : basic_oarchive(boost::archive::no_header), encoder_(encoder) {}

OutputArchive::~OutputArchive() = default;

void OutputArchive::save_binary(const void* data, std::size_t bytes) {
  encoder_.out.write(data, bytes);
}

void OutputArchive::put(Mark mark) { encoder_.put(mark); }

void OutputArchive::vsave(boost::archive::class_id_type) { put(Mark::null); }

void OutputArchive::register_basic_serializer(const Serializer& serializer) {
  if (!serializer.is_polymorphic()) return;
  if (place_of(classes_, serializer) == classes_.size()) classes_.push_back(&serializer);
}

void OutputArchive::save_object(const void* object, const Serializer& serializer) {
  if (object == pending_object_ && &serializer == pending_serializer_) {
    serializer.save_object_data(*this, object);
    return;
  }
  if (!serializer.tracking(0)) {
    put(Mark::plain);
    serializer.save_object_data(*this, object);
    return;
  }
  const auto [place, fresh] =
      objects_.try_emplace({object, &serializer}, Tracked{.id = objects_.size()});
  if (fresh) {
    put(Mark::fresh);
    serializer.save_object_data(*this, object);
    return;
  }
  // The reader would have to make one object at two addresses.
  if (place->second.through_pointer) throw archive_exception(archive_exception::pointer_conflict);
  put(Mark::again);
  encoder_.put(place->second.id);
}

void OutputArchive::save_pointer(const void* object,
                                 const boost::archive::detail::basic_pointer_oserializer* pointer) {
  const Serializer& serializer = pointer->get_basic_serializer();
  const bool tracked = serializer.tracking(0);
  if (tracked) {
    const auto [place, fresh] = objects_.try_emplace(
        {object, &serializer}, Tracked{.id = objects_.size(), .through_pointer = true});
    if (!fresh) {
      put(Mark::again);
      encoder_.put(place->second.id);
      return;
    }
  }
  put(tracked ? Mark::fresh : Mark::plain);
  if (serializer.is_polymorphic()) put_class(serializer);
  const state_saver<const void*> keep_object(pending_object_);
  const state_saver<const Serializer*> keep_serializer(pending_serializer_);
  pending_object_ = object;
  pending_serializer_ = &serializer;
  pointer->save_object_ptr(*this, object);
}

void OutputArchive::put_class(const Serializer& serializer) {
  const std::size_t place = place_of(classes_, serializer);
  encoder_.put(static_cast<std::uint32_t>(place));
  if (place != classes_.size()) return;
  const char* key = serializer.get_eti().get_key();
  if (key == nullptr) {
    throw archive_exception(archive_exception::unregistered_class,
                            serializer.get_eti().get_debug_info());
  }
  const std::size_t length = std::char_traits<char>::length(key);
  if (length >= BOOST_SERIALIZATION_MAX_KEY_SIZE) {
    throw archive_exception(archive_exception::invalid_class_name, key);
  }
  encoder_.put(static_cast<std::uint8_t>(length));
  encoder_.out.write(key, length);
  classes_.push_back(&serializer);
}

// -- input ---------------------------------------------------------------------------------------

InputArchive::InputArchive(Decoder& decoder)
    : basic_iarchive(boost::archive::no_header), decoder_(decoder) {}

InputArchive::~InputArchive() {
  // After a complete decode everything is delivered. After a failed one, what nobody else can
  // know of is destroyed; an object of which a half-built one may keep the address is left.
  for (auto& [object, created] : created_) {
    if (created.delivered) continue;
    if (created.constructed) {
      created.serializer->destroy(object);
    } else {
      ::operator delete(object);
    }
  }
}

void InputArchive::load_binary(void* data, std::size_t bytes) { decoder_.in.read(data, bytes); }

void InputArchive::register_basic_serializer(const Serializer& serializer) {
  if (!serializer.is_polymorphic()) return;
  if (place_of(classes_, serializer) == classes_.size()) classes_.push_back(&serializer);
}

Mark InputArchive::take_mark() {
  const auto mark = decoder_.take<std::uint8_t>();
  if (mark > static_cast<std::uint8_t>(Mark::again)) throw CorruptPayload("an object has no mark");
  return static_cast<Mark>(mark);
}

const InputArchive::Tracked& InputArchive::take_tracked() {
  const auto id = decoder_.take<std::uint64_t>();
  if (id >= objects_.size()) throw CorruptPayload("a reference leads to no object");
  return objects_[static_cast<std::size_t>(id)];
}

void InputArchive::load_object(void* object, const Serializer& serializer) {
  const auto version = version_of(serializer);
  if (object == pending_object_ && &serializer == pending_serializer_) {
    created_.at(object).constructed = true;
    serializer.load_object_data(*this, object, version);
    return;
  }
  switch (take_mark()) {
    case Mark::null:
      throw CorruptPayload("an object is marked as a null pointer");
    case Mark::again: {
      // The object is there already: it was saved twice, and is loaded twice at one address.
      const Tracked& tracked = take_tracked();
      if (tracked.object != object || tracked.serializer != &serializer) {
        throw CorruptPayload("a reference leads to another object");
      }
      return;
    }
    case Mark::fresh:
      objects_.push_back({.object = object, .serializer = &serializer});
      [[fallthrough]];
    case Mark::plain:
      serializer.load_object_data(*this, object, version);
  }
}

const InputArchive::PointerSerializer* InputArchive::load_pointer(void*& object,
                                                                  const PointerSerializer* expected,
                                                                  Finder find) {
  const Mark mark = take_mark();
  if (mark == Mark::null) {
    object = last_pointer_ = nullptr;
    return expected;
  }
  if (mark == Mark::again) {
    const Tracked& tracked = take_tracked();
    const PointerSerializer* serializer = tracked.serializer->get_bpis_ptr();
    // A pointer to a class without virtual functions never leads to a derived object: deleting
    // it by such a pointer would be undefined behaviour.
    const bool exact = expected != nullptr && !expected->get_basic_serializer().is_polymorphic();
    if (serializer == nullptr || (exact && serializer != expected)) {
      throw CorruptPayload("a reference leads to an object of another class");
    }
    object = last_pointer_ = tracked.object;
    return serializer;  // the caller converts to the class of its pointer, or throws
  }
  const PointerSerializer& serializer = take_class(expected, find);
  create(serializer, mark == Mark::fresh);
  object = last_pointer_;
  return &serializer;
}

const InputArchive::PointerSerializer& InputArchive::take_class(const PointerSerializer* expected,
                                                                Finder find) {
  if (expected != nullptr && !expected->get_basic_serializer().is_polymorphic()) return *expected;
  const auto place = decoder_.take<std::uint32_t>();
  if (place < classes_.size()) {
    const PointerSerializer* known = classes_[place]->get_bpis_ptr();
    if (known == nullptr) throw CorruptPayload("a class is not known by pointers");
    return *known;
  }
  if (place > classes_.size()) throw CorruptPayload("a class is not known");
  char key[BOOST_SERIALIZATION_MAX_KEY_SIZE]{};
  const auto length = decoder_.take<std::uint8_t>();
  if (length >= sizeof key) throw CorruptPayload("the name of a class is too long");
  decoder_.in.read(key, length);
  const auto* type = boost::serialization::extended_type_info::find(key);
  const PointerSerializer* found = type != nullptr ? find(*type) : nullptr;
  if (found == nullptr) throw archive_exception(archive_exception::unregistered_class, key);
  classes_.push_back(&found->get_basic_serializer());
  return *found;
}

void InputArchive::create(const PointerSerializer& pointer, bool tracked) {
  const Serializer& serializer = pointer.get_basic_serializer();
  void* object = pointer.heap_allocation();
  try {
    created_.insert_or_assign(object, Created{.serializer = &serializer});
  } catch (...) {
    ::operator delete(object);
    throw;
  }
  if (tracked) {
    objects_.push_back({.object = object, .serializer = &serializer, .through_pointer = true});
  }
  const state_saver<void*> keep_object(pending_object_);
  const state_saver<const Serializer*> keep_serializer(pending_serializer_);
  pending_object_ = object;
  pending_serializer_ = &serializer;
  pointer.load_object_ptr(*this, object, version_of(serializer));
  last_pointer_ = object;
  created_.at(object).constructed = true;
}

void InputArchive::deliver_raw() noexcept {
  const auto place = created_.find(last_pointer_);
  if (place != created_.end()) place->second.delivered = true;
}

void InputArchive::deliver_unique() {
  const auto place = created_.find(last_pointer_);
  if (place == created_.end() || place->second.unique || place->second.owner != nullptr) {
    throw CorruptPayload("an object has two owners");
  }
  place->second.delivered = place->second.unique = true;
}

std::shared_ptr<void>& InputArchive::owner_to_share() {
  const auto place = created_.find(last_pointer_);
  if (place == created_.end() || place->second.unique) {
    throw CorruptPayload("an object has two owners");
  }
  place->second.delivered = true;
  return place->second.owner;
}

InputArchive::Destroyer InputArchive::destroyer() const {
  return {last_pointer_, created_.at(last_pointer_).serializer};
}

void InputArchive::Destroyer::operator()(const void*) const { serializer->destroy(object); }

void InputArchive::reset_object_address(const void* to, const void* from) {
  const auto first = std::ranges::find_if(
      objects_, [&](const Tracked& tracked) { return tracked.object == from; });
  const auto shift = static_cast<const std::byte*>(to) - static_cast<const std::byte*>(from);
  for (auto place = first; place != objects_.end(); ++place) {
    if (!place->through_pointer) place->object = static_cast<std::byte*>(place->object) + shift;
  }
}

}  // namespace libpool::codec

// Boost declares these maps, of exported classes by archive, and leaves their definition to each
// archive.
template class boost::archive::detail::archive_serializer_map<libpool::codec::OutputArchive>;
template class boost::archive::detail::archive_serializer_map<libpool::codec::InputArchive>;
