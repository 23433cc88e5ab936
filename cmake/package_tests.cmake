# Programs of others can use the library: installed or as a subdirectory, static or shared.
set(launcher ${CMAKE_CXX_COMPILER_LAUNCHER})
if(launcher)
  list(GET launcher -1 launcher)  # without its settings for precompiled headers, of which there are none
endif()
set(package_settings
  -DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}
  -DCMAKE_CXX_COMPILER_LAUNCHER=${launcher}
  -DLIBPOOL_WERROR=${LIBPOOL_WERROR})
foreach(method find_package add_subdirectory)
  foreach(kind static shared)
    string(COMPARE EQUAL ${kind} shared shared)
    contained_test(package_${method}_${kind} SECONDS 900 COMMAND ${CMAKE_COMMAND}
      -D METHOD=${method}
      -D SHARED=${shared}
      -D SOURCE=${PROJECT_SOURCE_DIR}
      -D WORK=${PROJECT_BINARY_DIR}/package/${method}_${kind}
      -D "SETTINGS=${package_settings}"
      -P ${PROJECT_SOURCE_DIR}/tests/package/check.cmake)
  endforeach()
endforeach()
