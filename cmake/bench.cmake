# The programs of tests/bench: one for libpool, one for the limits, one for each peer that is found.
# `tests/bench/run` runs them, and reports as absent what is not built.
# Peers that are no Debian packages are found by environment variables that name their checkouts.
foreach(checkout LIBPOOL_BENCH_TASKFLOW LIBPOOL_BENCH_BS_THREAD_POOL)
  if(DEFINED ENV{${checkout}})
    set(${checkout} $ENV{${checkout}} CACHE PATH "A checkout to be measured too" FORCE)
  endif()
endforeach()
set(bench_folder ${PROJECT_SOURCE_DIR}/tests/bench)

find_package(OpenSSL REQUIRED COMPONENTS Crypto)

# bench_program(<name> [<library>...])
function(bench_program name)
  add_executable(${name} ${bench_folder}/${name}.cpp)
  target_compile_features(${name} PRIVATE cxx_std_20)
  target_link_libraries(${name} PRIVATE libpool_warnings Threads::Threads OpenSSL::Crypto ${ARGN})
endfunction()

# bench_checkout(<name> <checkout> <folder of its headers>): a peer whose headers the user has.
function(bench_checkout name checkout headers)
  if(checkout)
    bench_program(${name})
    target_include_directories(${name} SYSTEM PRIVATE ${checkout}/${headers})
  endif()
endfunction()

bench_program(bench_libpool libpool)
file(GLOB libpool_workloads CONFIGURE_DEPENDS ${bench_folder}/libpool_*.cpp)
target_sources(bench_libpool PRIVATE ${libpool_workloads})

bench_program(limits)
bench_program(peer_async)
bench_program(peer_pipe)
bench_program(peer_asio Boost::headers)
bench_program(peer_message_queue Boost::headers rt)
bench_checkout(peer_taskflow "${LIBPOOL_BENCH_TASKFLOW}" .)
bench_checkout(peer_bs "${LIBPOOL_BENCH_BS_THREAD_POOL}" include)

find_package(OpenMP)
if(OpenMP_CXX_FOUND)
  bench_program(peer_openmp OpenMP::OpenMP_CXX)
endif()
find_package(TBB)
if(TBB_FOUND)
  bench_program(peer_tbb TBB::tbb)
endif()

# The parts of the library alone. A shared library hides them.
find_package(benchmark)
if(benchmark_FOUND AND NOT BUILD_SHARED_LIBS)
  bench_program(micro libpool benchmark::benchmark)
endif()
