# Compiles through ccache where it is installed. Only a top-level build decides about its compiler.
find_program(LIBPOOL_CCACHE ccache)
mark_as_advanced(LIBPOOL_CCACHE)
if(PROJECT_IS_TOP_LEVEL AND LIBPOOL_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  # It asks for the first of these before it believes in precompiled headers. A precompiled header serves only
  # sources that see the very same files, comments included: hence the second.
  set(CMAKE_CXX_COMPILER_LAUNCHER
    ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_COMMENTS=true ${LIBPOOL_CCACHE})
endif()
