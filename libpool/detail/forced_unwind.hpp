/// How a thread that ends by `pthread_exit` or cancellation passes through our handlers.
///
/// In both processes, wherever user code runs inside a `try`. glibc unwinds the thread with an
/// exception that must not be swallowed; it is caught as `abi::__forced_unwind&`.
#pragma once

#include <cxxabi.h>

/// On each function that catches `abi::__forced_unwind&`: that is no object, the reference binds to
/// null, which the sanitizer for undefined behaviour would report.
#define LIBPOOL_CATCHES_FORCED_UNWIND __attribute__((no_sanitize("null")))
