# Each public header compiles alone.
foreach(header IN LISTS libpool_public_headers)
  cmake_path(GET header STEM stem)
  set(alone ${PROJECT_BINARY_DIR}/header_alone/${stem}.cpp)
  file(CONFIGURE OUTPUT ${alone} CONTENT "#include <libpool/${stem}.hpp>\n")
  list(APPEND headers_alone ${alone})
endforeach()
add_library(headers_alone OBJECT ${headers_alone})
target_link_libraries(headers_alone PRIVATE libpool libpool_warnings)
