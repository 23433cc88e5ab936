# The tests: one executable and one CTest test per source file.
find_package(doctest 2.4.9 REQUIRED)

# ThreadSanitizer sees one process: its preset names the tests in which several threads of that process work.
set(LIBPOOL_TESTS "." CACHE STRING "Regular expression for the names of the tests that are built")
mark_as_advanced(LIBPOOL_TESTS)

file(GLOB support_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/support/*.cpp)
list(FILTER support_sources EXCLUDE REGEX "/(contain|system_faults)\\.cpp$")
add_library(test_support OBJECT ${support_sources})
target_link_libraries(test_support PUBLIC libpool doctest::doctest PRIVATE libpool_warnings)
target_compile_options(test_support PRIVATE ${LIBPOOL_TEST_FLAGS})
# The expressions under CHECK_THROWS may be [[nodiscard]].
target_compile_definitions(test_support PUBLIC DOCTEST_CONFIG_VOID_CAST_EXPRESSIONS)
# Nearly every test includes these, and reading them takes longer than reading the test.
target_precompile_headers(test_support PRIVATE <doctest/doctest.h> <libpool/libpool.hpp>)
# It configures doctest before it includes it.
set_source_files_properties(${PROJECT_SOURCE_DIR}/tests/support/doctest_main.cpp PROPERTIES
  SKIP_PRECOMPILE_HEADERS ON)

# add_test_folder(<folder> SECONDS <limit of each>): tests/<folder>/x.cpp becomes the test <folder>_x.
function(add_test_folder folder)
  cmake_parse_arguments(PARSE_ARGV 1 folder "" "SECONDS" "")
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${folder}/*.cpp)
  foreach(source IN LISTS sources)
    cmake_path(GET source STEM stem)
    set(name ${folder}_${stem})
    if(NOT name MATCHES "${LIBPOOL_TESTS}")
      continue()
    endif()
    if(stem MATCHES "^system_")
      # It replaces system calls in the library's table, which a shared library hides.
      if(BUILD_SHARED_LIBS)
        continue()
      endif()
      list(APPEND source ${PROJECT_SOURCE_DIR}/tests/support/system_faults.cpp)
    endif()
    add_executable(${name} ${source} $<TARGET_OBJECTS:test_support>)
    target_link_libraries(${name} PRIVATE test_support libpool_warnings)
    target_compile_options(${name} PRIVATE ${LIBPOOL_TEST_FLAGS})
    target_precompile_headers(${name} REUSE_FROM test_support)
    contained_test(${name} SECONDS ${folder_SECONDS} COMMAND $<TARGET_FILE:${name}>)
  endforeach()
endfunction()

# Unit tests reach the inner parts, which a shared library hides.
if(NOT BUILD_SHARED_LIBS)
  add_test_folder(unit SECONDS 120)
endif()
add_test_folder(contract SECONDS 300)
add_test_folder(crash SECONDS 600)

# Each memory order of the rings is needed: weakened, it is reported.
if(CMAKE_CXX_FLAGS MATCHES -fsanitize=thread)
  contained_test(orders SECONDS 600 COMMAND
    ${PROJECT_SOURCE_DIR}/tests/orders/check ${CMAKE_CXX_COMPILER} ${PROJECT_BINARY_DIR}/orders)
endif()

# Sanitizers would tell nothing new about texts, the protocol's model, headers and packages.
if(NOT CMAKE_CXX_FLAGS MATCHES -fsanitize)
  # What the contract forbids does not compile, and the compiler says why.
  contained_test(contract_refused SECONDS 120 COMMAND ${CMAKE_COMMAND}
    -D COMPILER=${CMAKE_CXX_COMPILER}
    -D SOURCE=${PROJECT_SOURCE_DIR}/tests/contract/refused.cpp.txt
    -D INCLUDES=${PROJECT_SOURCE_DIR}
    -P ${PROJECT_SOURCE_DIR}/tests/contract/check_refused.cmake)
  add_test(NAME house COMMAND ${PROJECT_SOURCE_DIR}/cmake/check_house)
  find_program(LIBPOOL_SPIN spin)
  mark_as_advanced(LIBPOOL_SPIN)
  if(LIBPOOL_SPIN)
    # Less than a minute on a free CPU.
    contained_test(model SECONDS 600 COMMAND
      ${PROJECT_SOURCE_DIR}/tests/model/check ${PROJECT_BINARY_DIR}/model)
  else()
    message(STATUS "The protocol's model is not checked: spin is not installed")
  endif()
  # Under a sanitizer, crashes end otherwise than the storm expects.
  include(cmake/stress_tests.cmake)
  include(cmake/headers_alone.cmake)
  include(cmake/package_tests.cmake)
endif()
