# Compiles refused.cpp.txt and checks that the compiler refuses exactly the lines that the file marks.
#
# cmake -D COMPILER=<c++> -D SOURCE=<refused.cpp.txt> -D INCLUDES=<dir;dir> -P check_refused.cmake

set(include_flags)
foreach(directory IN LISTS INCLUDES)
  list(APPEND include_flags -I${directory})
endforeach()
execute_process(
  # Both compilers stop after some errors unless told otherwise, each in words of its own.
  COMMAND ${COMPILER} --version OUTPUT_VARIABLE version)
set(no_limit -fmax-errors=0)
if(version MATCHES clang)
  set(no_limit -ferror-limit=0)
endif()
execute_process(
  COMMAND ${COMPILER} -std=c++20 -fsyntax-only ${no_limit} -x c++ ${include_flags} ${SOURCE}
  RESULT_VARIABLE result
  ERROR_VARIABLE messages
  OUTPUT_QUIET)
if(result EQUAL 0)
  message(FATAL_ERROR "nothing was refused")
endif()

file(READ ${SOURCE} text)
string(REPLACE ";" "," text "${text}")
string(REPLACE "[" "(" text "${text}")
string(REPLACE "]" ")" text "${text}")
string(REPLACE "\n" ";" lines "${text}")
get_filename_component(name ${SOURCE} NAME)
set(number 0)
set(wrong)
set(checked 0)
foreach(line IN LISTS lines)
  math(EXPR number "${number} + 1")
  string(FIND "${messages}" "${name}:${number}:" named)
  if(line MATCHES "// refused: (.*)$" AND named EQUAL -1)
    list(APPEND wrong "line ${number} was accepted: ${CMAKE_MATCH_1}")
  elseif(line MATCHES "// accepted$" AND NOT named EQUAL -1)
    list(APPEND wrong "line ${number} was refused")
  endif()
  if(line MATCHES "// (refused|accepted)")
    math(EXPR checked "${checked} + 1")
  endif()
endforeach()

string(REGEX MATCHALL "static assertion failed|static_assert failed" assertions "${messages}")
list(LENGTH assertions explained)
if(wrong)
  string(REPLACE ";" "\n  " wrong "${wrong}")
  message(FATAL_ERROR "of ${checked} lines:\n  ${wrong}\n${messages}")
endif()
if(explained LESS 15)
  message(FATAL_ERROR "only ${explained} of the refusals explain themselves:\n${messages}")
endif()
message(STATUS "${checked} lines checked, ${explained} explained refusals")
