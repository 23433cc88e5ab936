# The fuzz targets: each source in tests/fuzz becomes a program fuzz_<name>, which `dev fuzz` runs. The preset
# `asan` compiles the library with what libFuzzer needs to see of it.
file(GLOB fuzz_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/fuzz/*.cpp)
add_custom_target(fuzzers)
foreach(source IN LISTS fuzz_sources)
  cmake_path(GET source STEM stem)
  add_executable(fuzz_${stem} EXCLUDE_FROM_ALL ${source})
  target_link_libraries(fuzz_${stem} PRIVATE libpool libpool_warnings)
  target_link_options(fuzz_${stem} PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzzers fuzz_${stem})
endforeach()
