# The tests: one executable and one CTest test per source file.
find_package(doctest 2.4.9 REQUIRED)

add_library(test_support OBJECT
  ${PROJECT_SOURCE_DIR}/tests/support/doctest_main.cpp
  ${PROJECT_SOURCE_DIR}/tests/support/footprint.cpp)
target_link_libraries(test_support PUBLIC libpool doctest::doctest PRIVATE libpool_warnings)

# add_test_folder(<folder> SECONDS <limit of each>): tests/<folder>/x.cpp becomes the test <folder>_x.
function(add_test_folder folder)
  cmake_parse_arguments(PARSE_ARGV 1 folder "" "SECONDS" "")
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${folder}/*.cpp)
  foreach(source IN LISTS sources)
    cmake_path(GET source STEM stem)
    set(name ${folder}_${stem})
    add_executable(${name} ${source} $<TARGET_OBJECTS:test_support>)
    target_link_libraries(${name} PRIVATE test_support libpool_warnings)
    contained_test(${name} SECONDS ${folder_SECONDS} COMMAND $<TARGET_FILE:${name}>)
  endforeach()
endfunction()

# Unit tests reach the inner parts, which a shared library hides.
if(NOT BUILD_SHARED_LIBS)
  add_test_folder(unit SECONDS 120)
endif()
add_test_folder(contract SECONDS 300)
add_test_folder(crash SECONDS 600)
