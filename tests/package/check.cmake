# Builds and runs the consumer: cmake -D METHOD=<find_package|add_subdirectory> -D SHARED=<ON|OFF>
#   -D SOURCE=<libpool> -D WORK=<folder to build in> -D "SETTINGS=<arguments for all configurations>" -P check.cmake
function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

set(configure ${CMAKE_COMMAND} -G Ninja -D CMAKE_BUILD_TYPE=Release -D BUILD_SHARED_LIBS=${SHARED}
  ${SETTINGS})
file(REMOVE_RECURSE ${WORK})

if(METHOD STREQUAL find_package)
  run(${configure} -S ${SOURCE} -B ${WORK}/libpool
    -D LIBPOOL_BUILD_TESTS=OFF -D LIBPOOL_BUILD_EXAMPLES=OFF)
  run(${CMAKE_COMMAND} --build ${WORK}/libpool)
  run(${CMAKE_COMMAND} --install ${WORK}/libpool --prefix ${WORK}/installed)
  list(APPEND configure -D CMAKE_PREFIX_PATH=${WORK}/installed)
else()
  list(APPEND configure -D LIBPOOL_SOURCE_DIR=${SOURCE})
endif()

run(${configure} -S ${SOURCE}/tests/package/${METHOD} -B ${WORK}/consumer)
run(${CMAKE_COMMAND} --build ${WORK}/consumer)
run(${WORK}/consumer/consumer)
