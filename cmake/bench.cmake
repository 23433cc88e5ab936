# The programs of tests/bench: one for libpool, one for the limits, one for each peer that is installed.
# `tests/bench/run` runs them, and reports as absent what is not built.
set(bench_folder ${PROJECT_SOURCE_DIR}/tests/bench)
set(LIBPOOL_BENCH_TASKFLOW "" CACHE PATH "A checkout of Taskflow, to be measured too")
set(LIBPOOL_BENCH_BS_THREAD_POOL "" CACHE PATH "A checkout of BS::thread_pool, to be measured too")

# bench_program(<name> [<library>...])
function(bench_program name)
  add_executable(${name} ${bench_folder}/${name}.cpp)
  target_compile_features(${name} PRIVATE cxx_std_20)
  target_link_libraries(${name} PRIVATE libpool_warnings Threads::Threads ${ARGN})
endfunction()

bench_program(bench_libpool libpool)
bench_program(limits)
bench_program(peer_async)
bench_program(peer_pipe)
bench_program(peer_asio Boost::headers)
bench_program(peer_message_queue Boost::headers rt)

find_package(OpenMP)
if(OpenMP_CXX_FOUND)
  bench_program(peer_openmp OpenMP::OpenMP_CXX)
endif()
find_package(TBB)
if(TBB_FOUND)
  bench_program(peer_tbb TBB::tbb)
endif()
