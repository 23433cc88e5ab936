# Runs PROGRAM, which must succeed and print what EXPECTED, a regular expression, describes from begin to end.
execute_process(COMMAND ${PROGRAM} OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
message("${output}")
if(NOT output MATCHES "^${EXPECTED}$")
  message(FATAL_ERROR "this was expected:\n${EXPECTED}")
endif()
