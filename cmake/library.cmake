# The library itself: static or shared by BUILD_SHARED_LIBS, all symbols hidden but those marked
# LIBPOOL_EXPORT. It is position independent either way, so that a static one can go into a plugin.
find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS serialization)

file(GLOB_RECURSE libpool_sources CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/libpool/*.cpp ${PROJECT_SOURCE_DIR}/worker/*.cpp)
if(NOT libpool_sources)
  file(WRITE ${PROJECT_BINARY_DIR}/empty.cpp "")
  set(libpool_sources ${PROJECT_BINARY_DIR}/empty.cpp)
endif()

add_library(libpool ${libpool_sources})
add_library(libpool::libpool ALIAS libpool)
target_include_directories(libpool PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:include>)
target_compile_features(libpool PUBLIC cxx_std_20)
# Whatever it calls elsewhere is looked up when the program is loaded: a forked process looks up nothing, so that it
# needs no lock of the dynamic linker's and copies fewer pages.
target_compile_options(libpool PRIVATE -fno-plt)
target_link_libraries(libpool
  PUBLIC Boost::serialization Threads::Threads
  PRIVATE $<BUILD_INTERFACE:libpool_warnings>)
set_target_properties(libpool PROPERTIES
  OUTPUT_NAME pool
  VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR}
  CXX_VISIBILITY_PRESET hidden
  VISIBILITY_INLINES_HIDDEN ON
  POSITION_INDEPENDENT_CODE ON
  # No -D that tells static from shared: ccache then compiles each source once for both.
  DEFINE_SYMBOL "")
