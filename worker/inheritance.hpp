/// What a forked process inherits from the host and must be rid of before it goes its own way.
///
/// Runs in fork servers, the prefork root and workers, right after the fork: system calls only,
/// nothing that allocates, locks or throws. A failing call leaves that one thing as inherited: none
/// of them is worth a pool that does not start. A death here leaves nothing.
#pragma once

#include <span>

namespace libpool::worker {

/// For a server: a process group of its own (Ctrl-C is the host's to handle), adoption of orphans,
/// its name, default dispositions, no alternate signal stack, an empty standard input; of the
/// library's descriptors, only `kept` stay open. Its workers inherit all of it but the adoption.
/// Signals stay blocked.
void become_server(const char* name, std::span<const int> kept) noexcept;

/// For a server that has little to do and is to do it at once, where tasks keep all CPUs busy too:
/// with a short slice of the CPU, Linux 6.12 and later let it run before those that have a long
/// one. Its share of the CPUs stays the same, and its workers get slices as long as the host's.
/// Does nothing where a filter watches the system calls.
void shorten_slice() noexcept;

/// For a worker, on top of what its server has mended: its name, an empty signal mask, a higher
/// out-of-memory score than the server's; of the library's descriptors, only `kept` stay open.
void become_worker(std::span<const int> kept) noexcept;

/// For a worker, once it is ready for code of the user's: slices as long as the host's, where its
/// server's are shorter.
void restore_slice() noexcept;

/// For a server: core files off for it and its workers, also those that are piped to a program.
void disable_core_dumps() noexcept;

/// For a worker: seeds `rand` and `random`, which would give the same numbers in all workers. Does
/// nothing if a thread of the host held their lock when the server was forked, because then it
/// would never return.
void reseed_random() noexcept;

}  // namespace libpool::worker
