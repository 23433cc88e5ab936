"""What is measured: the cases of each workload, and who takes part in which."""

import dataclasses
import os
import shutil
import sys


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One workload with its sizes; programs get the sizes as name=value."""

    name: str  # workload, or workload/variant
    program_word: str  # what programs call it
    title: str
    full: dict
    quick: dict  # sizes of a quick run that differ
    rounds: int = 7  # at most, for cases that take long

    @property
    def workload(self):
        return self.name.split("/")[0]

    def sizes(self, quick):
        return {"budget": 0.05 if quick else 0.25, **self.full, **(self.quick if quick else {})}


EMPTY = "empty tasks, int64 in and out, chunk size 1"
TRIVIAL = "trivial items, vector<int64_t> to vector, automatic chunks"
CALLS = {"calls": 20000, "idle_calls": 300}
FEW_CALLS = {"calls": 3000, "idle_calls": 60}
LARGE_PARENT = {"workers": 2, "parent_mib": 1024}
CASES = [
    Case("W1/2", "W1", f"{EMPTY}, 2 workers", {"tasks": 1e6}, {"tasks": 2e5}),
    Case("W1/16", "W1", f"{EMPTY}, 16 workers", {"tasks": 5e5, "workers": 16}, {"tasks": 2e5}),
    Case("W2/1e6", "W2", f"10^6 {TRIVIAL}", {"items": 1e6}, {}),
    Case("W2/1e7", "W2", f"10^7 {TRIVIAL}", {"items": 1e7}, {}),
    Case("W2/1e6/warm", "W2", "10^6, results in memory that malloc has kept",
         {"items": 1e6, "warm": 1}, {}),
    Case("W2/1e7/warm", "W2", "10^7, results in memory that malloc has kept",
         {"items": 1e7, "warm": 1}, {"items": 2e6}),
    Case("W3", "W3", "one blocking apply, back to back and after 1 ms of idleness",
         CALLS, FEW_CALLS),
    Case("W4/1M", "W4", "map over 64 buffers of 1 MiB", {"buffers": 64, "bytes": 2**20}, {}),
    Case("W4/16M", "W4", "map over 64 buffers of 16 MiB", {"buffers": 64, "bytes": 2**24},
         {"buffers": 8}),
    Case("W5/uneven", "W5", "CPU-bound, uneven tasks: parallel efficiency",
         {"size": 8, "budget": 0.3},
         {"size": 1, "budget": 0.03}),
    Case("W5/short", "W5s", "tasks of 1 to 1000 µs, chunk size 1: parallel efficiency",
         {"budget": 0.1}, {"budget": 0.02}),
    *(Case(f"W6/{workers}", "W6", f"make and destroy a pool of {workers}", {"workers": workers}, {})
      for workers in (2, 16, 64, 256)),
    Case("W6/1GiB", "W6", "make and destroy a pool of 2, parent of 1 GiB", LARGE_PARENT,
         {"budget": 0.05}),
    Case("W6/prefork", "W6", "the same after prefork()", {**LARGE_PARENT, "prefork": 1}, {}),
    Case("W7/small", "W7", "one of 1000 tasks kills its worker", {"deaths": 20}, {"deaths": 3}),
    Case("W7/1GiB", "W7", "the same, parent of 1 GiB", {"deaths": 10, "parent_mib": 1024},
         {"deaths": 2}),
    Case("W8", "W8", "imap over lazily made items, chunks of 1000, fast and slow consumer",
         {"items": 1e8, "chunksize": 1000, "map_items": 1e7, "slow_s": 3},
         {"items": 2e6, "map_items": 1e6, "slow_s": 0.5}, 3),
    Case("W9/workers", "W9w", "1 to 256 workers, tasks that sleep for 100 µs",
         {"tasks_a_worker": 200}, {"tasks_a_worker": 50}),
    Case("W9/items", "W9i", "map of 10^3 to 10^8 trivial items",
         {"items": 1e8, "single_items": 1e7}, {"items": 1e6, "single_items": 1e5}, 3),
    Case("W9/bytes", "W9p", "map of payloads of 8 bytes to 64 MiB, in and out",
         {"total": 2**26, "largest": 2**26}, {"total": 2**22, "largest": 2**24}),
    Case("W10", "W10", "CPU of an idle pool and one with sleeping tasks; 1 CPU; 16 workers",
         {"idle_s": 1, "sleeps": 50, "calls": 1000}, {"idle_s": 0.3, "sleeps": 10, "calls": 300}),
]
ALL = " ".join(case.name for case in CASES)


@dataclasses.dataclass(frozen=True, eq=False)
class Contender:
    """One line of the tables: a program, and the cases that it takes part in."""

    name: str
    program: str
    mode: str
    kind: str  # libpool, threads, processes or limit
    cases: str  # names of cases, or of workloads
    # Sizes of its own, by case or workload or for all (""), where fewer tell as much.
    sizes: dict = dataclasses.field(default_factory=dict)
    slow: bool = False  # takes part in one round of a quick run, and in three of a full one

    def takes_part(self, case):
        return {case.name, case.workload} & set(self.cases.split()) != set()


THREADS = "W1 W2 W3 W5 W9/workers W10"
FEW = {"": {"tasks": 2e4, "calls": 500, "idle_calls": 30, "deaths": 3, "buffers": 8, "items": 1e6,
            "tasks_a_worker": 50, "size": 1, "slow_s": 2, "sleeps": 20},
       # Lazily: those that pull all of their input at once are given a few seconds' worth.
       "W8": {"items": 2e6}}
FEWER = {"": {**FEW[""], "tasks": 5e3, "calls": 100, "deaths": 1}}
PYTHON = "W1/2 W2/1e6 W3 W4 W5 W6/2 W6/16 W7/small W9/workers W10"
ALONE = {"W3": {"workers": 1}}  # a second spinner would take a CPU from the other two
CONTENDERS = [
    Contender("ProcessPool", "bench_libpool", "process", "libpool", ALL),
    Contender("ThreadPool", "bench_libpool", "thread", "libpool",
              f"{THREADS} W4 W6/2 W6/16 W6/64 W6/256 W8 W9"),
    Contender("rings", "limits", "rings", "limit", "W1 W2 W3 W4 W10", ALONE),
    Contender("shared rings", "limits", "shared_rings", "limit", "W1 W3", ALONE),
    Contender("parking rings", "limits", "parking_rings", "limit", "W3", ALONE),
    Contender("serial", "limits", "serial", "limit", "W2"),
    Contender("memcpy", "limits", "memcpy", "limit", "W4"),
    Contender("fork", "limits", "fork", "limit", "W6/2 W6/16 W6/64 W6/256 W6/1GiB W7"),
    Contender("bare threads", "limits", "threads", "limit", "W6/2 W6/16 W6/64 W6/256"),
    Contender("TBB parallel_for", "peer_tbb", "parallel_for", "threads", THREADS),
    Contender("TBB task_group", "peer_tbb", "task_group", "threads", "W1 W3 W5/short W10"),
    Contender("Asio", "peer_asio", "asio", "threads", f"{THREADS} W6/2 W6/16 W6/64 W6/256"),
    Contender("OpenMP", "peer_openmp", "openmp", "threads", THREADS),
    Contender("std::async", "peer_async", "async", "threads", "W1/2 W2/1e7 W3 W5/uneven",
              {"": {"tasks": 2e4}}),
    Contender("Taskflow", "peer_taskflow", "taskflow", "threads", THREADS),
    Contender("BS::thread_pool", "peer_bs", "bs", "threads", THREADS),
    Contender("message_queue", "peer_message_queue", "message_queue", "processes",
              "W1 W2 W3 W4 W10"),
    Contender("pipes", "peer_pipe", "pipe", "processes", "W1 W2 W3 W4 W10"),
    Contender("Python Pool", "peer_python.py", "pool", "processes",
              f"{PYTHON} W1/16 W2/1e7 W6/64 W8", FEW, True),
    Contender("ProcessPoolExecutor", "peer_python.py", "executor", "processes",
              f"{PYTHON} W6/64 W8", FEWER, True),
    Contender("joblib (loky)", "peer_python.py", "joblib", "processes",
              "W1/2 W2/1e6 W3 W4 W5/uneven W6/2 W7/small",
              {"": {**FEWER[""], "items": 1e5, "tasks": 2e3}}, True),
    Contender("mpire", "peer_python.py", "mpire", "processes",
              "W1/2 W2/1e6 W3 W4 W5/uneven W6/2 W8", FEWER, True),
    Contender("Pebble", "peer_python.py", "pebble", "processes",
              "W1/2 W2/1e6 W3 W4 W5/uneven W6/2 W7/small", FEWER, True),
    Contender("Perl MCE", "peer_mce.pl", "mce", "processes", "W1/2 W2/1e6 W3 W4 W6/2 W6/16 W6/64",
              FEWER, True),
    Contender("Ruby parallel", "peer_parallel.rb", "parallel", "processes",
              "W1/2 W2/1e6 W3 W4 W6/2 W6/16 W6/64 W7/small", FEWER, True),
]


def sizes(contender, case, quick):
    """The case's sizes, but those of the contender where these are smaller."""
    result = case.sizes(quick)
    for scope in ("", case.workload, case.name):
        for name, value in contender.sizes.get(scope, {}).items():
            if name == "workers":
                result[name] = value
            elif name in result:
                result[name] = min(value, result[name])
    return result


def rounds(contender, case, quick, asked):
    """How many rounds of a run this measurement takes part in."""
    if asked:
        return asked
    if quick:
        return 1 if contender.slow else 3
    return min(case.rounds, 3 if contender.slow else 7)


def command(contender, programs, sources):
    """The words that start a contender, or None and why it is absent."""
    suffix = os.path.splitext(contender.program)[1]
    # Debian's Python sees Debian's modules; another one in front of it on the path does not.
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    interpreters = {".py": python, ".pl": "perl", ".rb": "ruby"}
    if suffix in interpreters:
        interpreter = shutil.which(interpreters[suffix])
        if interpreter is None:
            return None, f"{interpreters[suffix]} is not installed"
        return [interpreter, os.path.join(sources, contender.program), contender.mode], None
    program = os.path.join(programs, contender.program)
    if not os.path.exists(program):
        return None, f"{contender.program} is not built: its library was not found"
    return [program, contender.mode], None
