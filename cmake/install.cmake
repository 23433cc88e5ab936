# `cmake --install`, and what find_package(libpool) reads. Headers of the parts that only the library's own
# sources include stay behind.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(libpool_config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/libpool)
install(TARGETS libpool EXPORT libpool)
install(EXPORT libpool NAMESPACE libpool:: FILE libpool-targets.cmake DESTINATION ${libpool_config_dir})

file(GLOB libpool_public_headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/libpool/*.hpp)
install(FILES ${libpool_public_headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/libpool)
install(DIRECTORY libpool/detail libpool/codec DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/libpool
  FILES_MATCHING PATTERN *.hpp)
# The inner headers that the typed calls need: the arithmetic of chunk sizes, the word that a worker steps
# from item to item, and the lock of those who take results one by one.
install(FILES libpool/submit/chunker.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/libpool/submit)
install(FILES libpool/ring/progress_word.hpp libpool/ring/biased_lock.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/libpool/ring)

configure_package_config_file(cmake/libpool-config.cmake.in libpool-config.cmake
  INSTALL_DESTINATION ${libpool_config_dir})
write_basic_package_version_file(libpool-config-version.cmake COMPATIBILITY SameMinorVersion)
install(
  FILES ${PROJECT_BINARY_DIR}/libpool-config.cmake ${PROJECT_BINARY_DIR}/libpool-config-version.cmake
  DESTINATION ${libpool_config_dir})
