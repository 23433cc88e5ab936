/// The map of loaded modules: from addresses to tokens and back.
///
/// Runs in the parent before a fork server is made, then in the parent (tokens of functions) and in
/// workers (functions of tokens), on what was mapped then. Neighbours: the dynamic loader, the
/// chunk codec, the task runner. A death here leaves nothing.
#include <libpool/codec/function_token.hpp>

#include <elf.h>
#include <link.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <span>

#include <libpool/detail/error_types.hpp>

namespace libpool::codec {

namespace {

constexpr std::size_t build_id_bytes = 20;  // a SHA-1; the rest of a module's id is its ordinal
using ModuleId = decltype(FunctionToken::module);

/// The bytes of a segment as they are mapped.
std::span<const std::byte> mapped(const dl_phdr_info& info, const ElfW(Phdr) & segment) {
  const std::uintptr_t begin = info.dlpi_addr + segment.p_vaddr;
  return {reinterpret_cast<const std::byte*>(begin), segment.p_memsz};
}

/// Finds the note that the linker left with `--build-id`; copies at most 20 bytes of it.
bool find_build_id(std::span<const std::byte> notes, std::size_t alignment, ModuleId& id) {
  const auto padded = [&](std::size_t bytes) {
    return (bytes + alignment - 1) / alignment * alignment;
  };
  while (notes.size() >= sizeof(ElfW(Nhdr))) {
    ElfW(Nhdr) header;
    std::memcpy(&header, notes.data(), sizeof header);
    const std::size_t name = sizeof header;
    const std::size_t description = padded(name + header.n_namesz);
    const std::size_t next = padded(description + header.n_descsz);
    if (next > notes.size()) return false;
    if (header.n_type == NT_GNU_BUILD_ID && header.n_namesz == sizeof ELF_NOTE_GNU &&
        std::memcmp(notes.data() + name, ELF_NOTE_GNU, sizeof ELF_NOTE_GNU) == 0) {
      const std::size_t bytes = std::min<std::size_t>(header.n_descsz, build_id_bytes);
      std::memcpy(id.data(), notes.data() + description, bytes);
      return bytes != 0;
    }
    notes = notes.subspan(next);
  }
  return false;
}

/// Stands for a build-id where there is none: FNV-1a over the code, which the loader does not
/// change.
void digest_code(const dl_phdr_info& info, ModuleId& id) {
  std::uint64_t digest = 14695981039346656037U;
  for (const auto& segment : std::span(info.dlpi_phdr, info.dlpi_phnum)) {
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0 || (segment.p_flags & PF_R) == 0)
      continue;
    for (const std::byte byte : mapped(info, segment)) {
      digest = (digest ^ std::to_integer<std::uint64_t>(byte)) * 1099511628211U;
    }
  }
  std::memcpy(id.data(), "digest", 6);
  std::memcpy(id.data() + 8, &digest, sizeof digest);
}

ModuleId identify(const dl_phdr_info& info) {
  ModuleId id{};
  for (const auto& segment : std::span(info.dlpi_phdr, info.dlpi_phnum)) {
    if (segment.p_type != PT_NOTE) continue;
    const std::size_t alignment = segment.p_align == 8 ? 8 : 4;
    if (find_build_id(mapped(info, segment), alignment, id)) return id;
  }
  digest_code(info, id);
  return id;
}

/// Calls `visit(info)` for each module until it returns true.
template <class Visit>
void for_each_module(Visit visit) {
  const auto call = [](dl_phdr_info* info, std::size_t, void* data) -> int {
    return (*static_cast<Visit*>(data))(*info) ? 1 : 0;
  };
  dl_iterate_phdr(call, &visit);
}

}  // namespace

ModuleMap ModuleMap::current() {
  ModuleMap map;
  std::vector<ModuleId> seen;
  for_each_module([&](const dl_phdr_info& info) {
    map.removed_ = info.dlpi_subs;
    ModuleId id = identify(info);
    // One library may be loaded from two paths: its copies differ by their ordinal.
    const auto ordinal = static_cast<std::uint32_t>(std::ranges::count(seen, id));
    seen.push_back(id);
    std::memcpy(id.data() + build_id_bytes, &ordinal, sizeof ordinal);
    for (const auto& segment : std::span(info.dlpi_phdr, info.dlpi_phnum)) {
      if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
      const std::uintptr_t begin = info.dlpi_addr + segment.p_vaddr;
      map.modules_.push_back({id, info.dlpi_addr, begin, begin + segment.p_memsz});
    }
    return false;
  });
  std::ranges::sort(map.modules_, {}, &Module::code_begin);
  return map;
}

FunctionToken ModuleMap::token_of(const void* function) const {
  const auto address = reinterpret_cast<std::uintptr_t>(function);
  auto module = std::ranges::upper_bound(modules_, address, {}, &Module::code_begin);
  // The one that begins last at or before the address, if any.
  if (module == modules_.begin() || address >= std::prev(module)->code_end) {
    throw PoolError(
        "the function is in no module that was loaded when the pool was made: load the library "
        "first, then make the pool (or call libpool::prefork)");
  }
  --module;
  if (!is_still_loaded(*module)) {
    throw PoolError("the module that held the function was unloaded since the pool was made");
  }
  return {module->id, address - module->base};
}

bool ModuleMap::is_still_loaded(const Module& module) const {
  unsigned long long removed = 0;
  for_each_module([&](const dl_phdr_info& info) {
    removed = info.dlpi_subs;
    return true;
  });
  if (removed == removed_) return true;
  // Something was unloaded, and something else may lie there now.
  bool found = false;
  for_each_module([&](const dl_phdr_info& info) {
    if (info.dlpi_addr != module.base) return false;
    const ModuleId id = identify(info);
    found = std::memcmp(id.data(), module.id.data(), build_id_bytes) == 0;
    return true;
  });
  return found;
}

const void* ModuleMap::address_of(const FunctionToken& token) const noexcept {
  for (const Module& module : modules_) {
    if (module.id != token.module) continue;
    const std::uintptr_t address = module.base + token.offset;
    if (address >= module.code_begin && address < module.code_end) {
      return reinterpret_cast<const void*>(address);
    }
  }
  return nullptr;
}

}  // namespace libpool::codec
