# Compiles through ccache where it is installed. Only a top-level build decides about its compiler.
find_program(LIBPOOL_CCACHE ccache)
mark_as_advanced(LIBPOOL_CCACHE)
if(PROJECT_IS_TOP_LEVEL AND LIBPOOL_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${LIBPOOL_CCACHE})
endif()
