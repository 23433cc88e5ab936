# The programs of tests/examples; CTest runs them and checks what they print, never when.
find_package(fmt REQUIRED)
find_package(CLI11 REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(ZLIB REQUIRED)

file(GLOB example_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/examples/*.cpp)
foreach(source IN LISTS example_sources)
  cmake_path(GET source STEM name)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE libpool libpool_warnings fmt::fmt)
  # Where speed does not matter, they are compiled as quickly as tests are.
  target_compile_options(${name} PRIVATE $<$<CONFIG:Debug>:${LIBPOOL_TEST_FLAGS}>)
endforeach()
target_link_libraries(digest_tree PRIVATE CLI11::CLI11 OpenSSL::Crypto ZLIB::ZLIB)

if(NOT LIBPOOL_BUILD_TESTS)
  return()
endif()

# example_prints(<name> <regular expression for all that it prints>)
function(example_prints name expected)
  contained_test(example_${name} SECONDS 60 COMMAND ${CMAKE_COMMAND}
    -D PROGRAM=$<TARGET_FILE:${name}> -D "EXPECTED=${expected}"
    -P ${PROJECT_SOURCE_DIR}/tests/examples/check_output.cmake)
endfunction()

example_prints(seed_map "\\[1, 4, 9, 16, 25\\]\n")
example_prints(seed_map_async "callback: \\[1, 4, 9, 16, 25\\]\ndone\n")
example_prints(seed_polling "ready: false\nready: true, successful: true, result: 49\n")
example_prints(seed_partial "\\[1, 8, 27, 64, 125\\]\n")
example_prints(seed_starmap "\\[2, 12, 30\\]\n")
example_prints(seed_apply "5\nHello, World!\n\\[1, 2, 3\\]\n")
example_prints(seed_mixed "1000 \\[1, 4, 9, 16, 25\\] 100\n")

set(at " \\(at [0-9.]+ s\\)")
foreach(pool ProcessPool ThreadPool)
  string(APPEND waits
    "${pool} map: 0${at} 4${at} 5${at} 2${at}\n"
    "${pool} imap: 0${at} 4${at} 5${at} 2${at}\n"
    "${pool} imap_unordered: 0${at} 2${at} 4${at} 5${at}\n")
endforeach()
example_prints(seed_waits "${waits}")
# A loaded machine could change the order in which a tenth of a second passes.
set_tests_properties(example_seed_waits PROPERTIES RUN_SERIAL ON)

foreach(number RANGE 49)
  math(EXPR square "${number} * ${number}")
  string(APPEND squares "${square}\n")
endforeach()
example_prints(seed_imap "${squares}")

foreach(task RANGE 1 50)
  string(APPEND fifty_lines "task [0-9]+ ran\n")
endforeach()
example_prints(seed_close_join "${fifty_lines}all done\n")

foreach(first 0 10 20 30)
  math(EXPR last "${first} + 9")
  string(APPEND chunks "tasks ${first} to ${last} ran in worker {[0-3]}\n")
endforeach()
example_prints(seed_chunks "${chunks}")

contained_test(example_digest_tree SECONDS 300 COMMAND
  ${PROJECT_SOURCE_DIR}/tests/examples/check_digest_tree $<TARGET_FILE:digest_tree>)
