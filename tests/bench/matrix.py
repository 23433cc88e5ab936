"""What is measured: the cases of each workload, and who takes part in which."""

import dataclasses
import importlib.util
import os
import shutil
import sys


@dataclasses.dataclass(frozen=True)
class Case:
    """One workload with its sizes; programs get the sizes as name=value."""

    name: str
    title: str
    full: dict
    quick: dict

    @property
    def workload(self):
        return self.name.split("/")[0]

    def sizes(self, quick):
        return {**self.full, **(self.quick if quick else {}), "budget": 0.1 if quick else 0.3}


CASES = [
    Case("W1", "empty tasks, chunk size 1, 2 workers", {"tasks": 1e6}, {"tasks": 2e5}),
    Case("W1/16", "empty tasks, chunk size 1, 16 workers",
         {"tasks": 1e6, "workers": 16}, {"tasks": 2e5}),
    Case("W2/1e6", "map of 10^6 trivial items, automatic chunks", {"items": 1e6}, {}),
    Case("W2/1e7", "map of 10^7 trivial items, automatic chunks", {"items": 1e7}, {}),
    Case("W2/warm", "map of 10^7 trivial items, into memory that malloc kept",
         {"items": 1e7, "warm": 1}, {}),
    Case("W3", "one blocking apply", {"calls": 20000, "idle_calls": 300},
         {"calls": 3000, "idle_calls": 60}),
]


@dataclasses.dataclass(frozen=True)
class Contender:
    """One column of the tables: a program, and the cases that it takes part in."""

    name: str
    program: str
    mode: str
    cases: str
    kind: str  # libpool, threads, processes or limit
    # Sizes that this contender gets instead, where a thousandth tells as much.
    sizes: dict = dataclasses.field(default_factory=dict)


ALL = "W1 W1/16 W2/1e6 W2/1e7 W2/warm W3"
SLOW = {"tasks": 2e4, "calls": 500, "idle_calls": 30}
CONTENDERS = [
    Contender("ProcessPool", "bench_libpool", "process", ALL, "libpool"),
    Contender("ThreadPool", "bench_libpool", "thread", ALL, "libpool"),
    Contender("rings", "limits", "rings", ALL, "limit", {"W3": {"workers": 1}}),
    Contender("shared rings", "limits", "shared_rings", "W1 W1/16 W3", "limit",
              {"W3": {"workers": 1}}),
    Contender("serial", "limits", "serial", "W2/1e6 W2/1e7 W2/warm", "limit"),
    Contender("TBB parallel_for", "peer_tbb", "parallel_for", ALL, "threads"),
    Contender("TBB task_group", "peer_tbb", "task_group", "W1 W1/16 W3", "threads"),
    Contender("Asio", "peer_asio", "asio", ALL, "threads"),
    Contender("OpenMP", "peer_openmp", "openmp", ALL, "threads"),
    Contender("std::async", "peer_async", "async", "W1 W2/1e7 W3", "threads", {"": SLOW}),
    Contender("message_queue", "peer_message_queue", "message_queue", ALL, "processes"),
    Contender("pipes", "peer_pipe", "pipe", ALL, "processes"),
    Contender("Python Pool", "peer_python.py", "pool", "W1 W1/16 W2/1e6 W2/1e7 W3", "processes",
              {"": SLOW}),
]


def sizes(contender, case, quick):
    own = {**contender.sizes.get("", {}), **contender.sizes.get(case.name, {})}
    return {**case.sizes(quick), **{name: value for name, value in own.items()
                                    if name in case.full or name == "workers"}}


def debian_python():
    """Debian's interpreter sees Debian's modules; another one in front of it on the path does not."""
    return "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


def command(contender, programs, sources):
    """The words that start a contender, or None and why it is absent."""
    suffix = os.path.splitext(contender.program)[1]
    interpreters = {".py": debian_python(), ".pl": "perl", ".rb": "ruby"}
    if suffix in interpreters:
        interpreter = shutil.which(interpreters[suffix])
        if interpreter is None:
            return None, f"{interpreters[suffix]} is not installed"
        return [interpreter, os.path.join(sources, contender.program), contender.mode], None
    program = os.path.join(programs, contender.program)
    if not os.path.exists(program):
        return None, f"{contender.program} is not built: its library was not found"
    return [program, contender.mode], None
