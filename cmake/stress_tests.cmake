# The kill storm: a program that the script `dev` also runs for longer.
add_executable(storm
  ${PROJECT_SOURCE_DIR}/tests/stress/storm.cpp ${PROJECT_SOURCE_DIR}/tests/support/footprint.cpp)
target_link_libraries(storm PRIVATE libpool libpool_warnings)
target_compile_options(storm PRIVATE ${LIBPOOL_TEST_FLAGS})
contained_test(stress_storm SECONDS 300 COMMAND $<TARGET_FILE:storm> 60)

# A shared library hides what this test replaces.
if(NOT BUILD_SHARED_LIBS)
  include(cmake/every_instruction.cmake)
endif()
# Pools en masse: the script `dev` makes a hundred thousand of them.
add_executable(pools
  ${PROJECT_SOURCE_DIR}/tests/stress/pools.cpp ${PROJECT_SOURCE_DIR}/tests/support/footprint.cpp)
target_link_libraries(pools PRIVATE libpool libpool_warnings)
target_compile_options(pools PRIVATE ${LIBPOOL_TEST_FLAGS})
contained_test(stress_pools SECONDS 300 COMMAND $<TARGET_FILE:pools> 3000)
