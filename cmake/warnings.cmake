# The warnings that all code of this repository is free of; linked privately, so that users never see them.
add_library(libpool_warnings INTERFACE)
target_compile_options(libpool_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow $<$<BOOL:${LIBPOOL_WERROR}>:-Werror>)
