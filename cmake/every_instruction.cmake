# A worker dies after each of its instructions, with the shared words and the worker compiled at two levels; and
# copies of the library with a bug each, which the test must find.
file(GLOB stepped_sources CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/libpool/ring/*.cpp ${PROJECT_SOURCE_DIR}/worker/*.cpp)

set(stepped_test ${PROJECT_SOURCE_DIR}/tests/stress/every_instruction.cpp)

# Compiled once for all programs that need the same of it.
add_library(every_instruction OBJECT ${stepped_test})
target_link_libraries(every_instruction PRIVATE libpool libpool_warnings)
target_compile_options(every_instruction PRIVATE -O2)

# add_stepped(<name> LEVEL <n> TEST <source or object> SOURCES <source>... [ARGUMENTS <argument>...] [PARTS <n>]): the
# test with these sources in place of the library's own, which the linker then leaves where they are; as several
# tests that each do a part.
function(add_stepped name)
  cmake_parse_arguments(PARSE_ARGV 1 stepped "" "LEVEL;TEST;PARTS" "SOURCES;ARGUMENTS")
  set(program every_instruction_${name})
  add_executable(${program} ${stepped_TEST} ${stepped_SOURCES})
  target_link_libraries(${program} PRIVATE libpool libpool_warnings)
  target_compile_options(${program} PRIVATE -O${stepped_LEVEL})
  # The dynamic linker's work at a first call would be on one path and not on the next.
  target_link_options(${program} PRIVATE -Wl,-z,now)
  if(NOT stepped_PARTS)
    contained_test(stress_${program} SECONDS 600 COMMAND $<TARGET_FILE:${program}> ${stepped_ARGUMENTS})
    set_tests_properties(stress_${program} PROPERTIES SKIP_RETURN_CODE 77)
    return()
  endif()
  foreach(part RANGE 1 ${stepped_PARTS})
    set(test stress_${program}_${part}_of_${stepped_PARTS})
    contained_test(${test} SECONDS 600 COMMAND $<TARGET_FILE:${program}> --part ${part}/${stepped_PARTS})
    # Hardly anything but waiting for deaths: the longest tests begin first.
    set_tests_properties(${test} PROPERTIES SKIP_RETURN_CODE 77 COST 1000)
  endforeach()
endfunction()

add_stepped(O2 LEVEL 2 TEST $<TARGET_OBJECTS:every_instruction> SOURCES ${stepped_sources})
add_stepped(O0 LEVEL 0 TEST ${stepped_test} SOURCES ${stepped_sources} PARTS 3)

# seed_bug(<name> FILE <file> [IN <source>] CHANGES <text> <replacement>...): the test must find the bug of a library whose
# file has the first text of each pair replaced by the second. A header is changed for the test, and for the one
# source of the library that uses what changes. No text has a semicolon. UNAUDITED: the audit of the claim words, which would
# mend what the bug leaves, finds nothing.
function(seed_bug name)
  cmake_parse_arguments(PARSE_ARGV 1 bug "UNAUDITED" "FILE;IN" CHANGES)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${bug_FILE})
  file(READ ${PROJECT_SOURCE_DIR}/${bug_FILE} text)
  while(bug_CHANGES)
    list(POP_FRONT bug_CHANGES from to)
    string(FIND "${text}" "${from}" found)
    if(found EQUAL -1)
      message(WARNING "The seeded bug ${name} does not fit ${bug_FILE} any more: ${from}")
      add_test(NAME stress_every_instruction_${name} COMMAND ${CMAKE_COMMAND} -E false)
      return()
    endif()
    string(REPLACE "${from}" "${to}" text "${text}")
  endwhile()
  set(folder ${PROJECT_BINARY_DIR}/seeded_bugs/${name})
  file(CONFIGURE OUTPUT ${folder}/${bug_FILE} CONTENT "${text}" @ONLY)
  set(sources ${folder}/${bug_FILE})
  set(test $<TARGET_OBJECTS:every_instruction>)
  if(bug_FILE MATCHES "hpp$")
    set(test ${stepped_test})
  endif()
  if(bug_IN)
    set(sources ${folder}/${bug_IN})
    file(CONFIGURE OUTPUT ${sources} CONTENT "#include \"${PROJECT_SOURCE_DIR}/${bug_IN}\"\n" @ONLY)
  elseif(bug_FILE MATCHES "hpp$")
    set(sources)
  endif()
  if(bug_UNAUDITED)
    set(audit libpool/supervise/full_reset.cpp)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${audit})
    file(READ ${PROJECT_SOURCE_DIR}/${audit} text)
    string(REPLACE "claims_are_sound() const {" "claims_are_sound() const {
  if (dispatcher_.slots() != 0) return true;" text "${text}")
    file(CONFIGURE OUTPUT ${folder}/${audit} CONTENT "${text}" @ONLY)
    list(APPEND sources ${folder}/${audit})
  endif()
  add_stepped(${name} LEVEL 2 TEST ${test} SOURCES ${sources} ARGUMENTS --must-fail)
  target_include_directories(every_instruction_${name} BEFORE PRIVATE ${folder})
endfunction()

seed_bug(owner_after_claim UNAUDITED FILE libpool/ring/claim_word.hpp IN libpool/ring/task_ring.cpp CHANGES
  "claim.owner = worker" "claim.owner = max_workers"
  "return claim.ticket"
  "return claim.owner = worker, word_.store(claim.pack(), std::memory_order_seq_cst), claim.ticket")
seed_bug(progress_after_call FILE worker/task_runner.cpp CHANGES
  "enter(Phase::decode)" "enter(Phase::claimed)"
  "enter(Phase::run)" "enter(Phase::claimed)")
seed_bug(tail_before_record FILE libpool/ring/result_ring.cpp CHANGES
  "write_open_header(last)"
  "lane_->tail.store(tail_ + sizeof(RecordHeader) + padded(bytes), std::memory_order_release),
    write_open_header(last)")
seed_bug(progress_before_tail FILE worker/task_runner.cpp CHANGES
  "place_.writer.publish()" "enter(Phase::published), place_.writer.publish()")
seed_bug(sweep_before_drain FILE libpool/supervise/bury.cpp CHANGES
  "record.exit = exit" "record.exit = exit, settle_claims(worker, deliveries)")
seed_bug(bundle_not_shortened FILE libpool/submit/dispatcher.cpp CHANGES
  "std::exchange(chunk.end, *first)" "chunk.end")
seed_bug(next_item_before_result FILE libpool/detail/chunk_runner.hpp CHANGES
  "std::memcpy(place, &result, sizeof result)"
  "context.begin_in_run(run.item + done + 1), std::memcpy(place, &result, sizeof result)")
