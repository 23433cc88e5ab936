# Tests that cannot outlive their run: each is started by tests/support/contain.cpp, which ends whatever
# processes it leaves.
add_executable(contain ${PROJECT_SOURCE_DIR}/tests/support/contain.cpp)
target_compile_features(contain PRIVATE cxx_std_20)
target_link_libraries(contain PRIVATE libpool_warnings)

# contained_test(<name> SECONDS <limit> COMMAND <command> [<argument>...])
function(contained_test name)
  cmake_parse_arguments(PARSE_ARGV 1 test "" "SECONDS" "COMMAND")
  add_test(NAME ${name} COMMAND contain ${test_SECONDS} ${test_COMMAND})
  # `contain` keeps the limit; this one only catches a `contain` that is stuck itself.
  math(EXPR last_resort "${test_SECONDS} + 60")
  # Those that may take long start first, so that none of them runs alone in the end.
  set_tests_properties(${name} PROPERTIES TIMEOUT ${last_resort} COST ${test_SECONDS})
endfunction()
