/// LIBPOOL_EXPORT marks what programs may link and catch: all else is hidden in a shared library.
///
/// On each class with members defined in a source file that headers of the library use, on each
/// such function, and on each exception class, whose type must be one type in all modules.
#pragma once

#define LIBPOOL_EXPORT __attribute__((visibility("default")))
