"""Python's pools: multiprocessing.Pool, ProcessPoolExecutor, joblib with loky, mpire, Pebble.

Usage: peer_python.py CONTENDER WORKLOAD [name=value]... ; prints a line of JSON as bench.hpp says.
mpire and Pebble are not in Debian: LIBPOOL_BENCH_MPIRE and LIBPOOL_BENCH_PEBBLE name checkouts.
"""

import importlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time

# The sources' folder stays as it was checked out.
sys.dont_write_bytecode = True

from python_pools import (CONTENDERS, compute, digest, echo, increment, maybe_die,
                          primes_of_hundred, sleep_a_little, sleep_ten_milliseconds)

ABSENT = 69


def seconds(f):
    begin = time.perf_counter()
    f()
    return time.perf_counter() - begin


def median_seconds(budget, f):
    """A first run to warm up, then until the budget is used."""
    spent = seconds(f)
    if spent >= budget:
        return spent
    samples = []
    while sum(samples) < budget:
        samples.append(seconds(f))
    return statistics.median(samples)


def percentile(values, q):
    return sorted(values)[int(q * (len(values) - 1) + 0.5)]


def empty_tasks(make, sizes):
    tasks = int(sizes["tasks"])
    peer = make()
    calls = {"map": lambda: peer.map(increment, range(tasks), 1), **peer.other_calls(tasks)}
    return {f"{name}_per_s": tasks / median_seconds(sizes["budget"], call)
            for name, call in calls.items()}


def trivial_items(make, sizes):
    items = list(range(int(sizes["items"])))
    peer = make()
    return {"items_per_s": len(items) / median_seconds(sizes["budget"],
                                                       lambda: peer.map(increment, items))}


def round_trips(make, sizes):
    peer = make()

    def samples(count, idle):
        for _ in range(int(count)):
            time.sleep(idle)
            yield 1e6 * seconds(lambda: peer.one(increment, 1))

    list(samples(20, 0))
    busy = list(samples(sizes["calls"], 0))
    idle = list(samples(sizes["idle_calls"], 0.001))
    return {"p50_us": percentile(busy, 0.5), "p99_us": percentile(busy, 0.99),
            "idle_p50_us": percentile(idle, 0.5), "idle_p99_us": percentile(idle, 0.99)}


def payloads(make, sizes):
    buffers = [bytes(int(sizes["bytes"])) for _ in range(int(sizes["buffers"]))]
    total = sizes["bytes"] * len(buffers) / 2**30
    peer = make()
    both = median_seconds(sizes["budget"], lambda: peer.map(echo, buffers))
    one = median_seconds(sizes["budget"], lambda: peer.map(len, buffers))
    return {"in_out_gib_per_s": total / both, "in_gib_per_s": total / one}


def efficiency(peer, f, items, chunksize, sizes):
    alone, together = [], []
    peer.map(f, items, chunksize)
    begin = time.perf_counter()
    while not alone or time.perf_counter() < begin + 2 * sizes["budget"]:
        alone.append(seconds(lambda: [f(x) for x in items]))
        together.append(seconds(lambda: peer.map(f, items, chunksize)))
    return statistics.median(alone) / statistics.median(together) / sizes["workers"]


def uneven_tasks(make, sizes):
    peer = make()
    size = int(sizes["size"])
    work = {"primes": (primes_of_hundred, range(150 * size)),
            "sha256": (digest, [bytes(4096 << (i * 2654435761 >> 7) % 7)
                                for i in range(400 * size)])}
    return {f"{name}_{label}": efficiency(peer, f, items, chunksize, sizes)
            for name, (f, items) in work.items()
            for label, chunksize in (("chunk_1", 1), ("auto", None))}


def short_tasks(make, sizes):
    peer = make()
    steps = 100000 / (1e6 * median_seconds(0.02, lambda: compute(100000)))
    result = {}
    for length in (10, 20, 50, 100, 200, 500, 1000):
        items = [int(length * steps)] * int(1e6 * sizes["budget"] / 3 / length)
        result[f"efficiency_{length}_us"] = efficiency(peer, compute, items, 1, sizes)
    return result


def make_and_destroy(make, sizes):
    ballast = b"x" * (int(sizes.get("parent_mib", 0)) << 20)
    workers = int(sizes["workers"])

    def once(tasks):
        peer = make()
        if tasks:
            peer.map(increment, range(tasks), 1)
        peer.end()

    result = {"with_a_task_ms": 1e3 * median_seconds(sizes["budget"], lambda: once(workers))}
    del ballast
    return result


def deaths(make, sizes):
    waits = []
    for _ in range(int(sizes["deaths"])):
        peer = make()
        with tempfile.NamedTemporaryFile("r", encoding="ascii") as file:
            # multiprocessing.Pool never tells; this is how long it is given.
            signal.signal(signal.SIGALRM, lambda *_: sys.exit("no outcome within 3 s"))
            signal.alarm(3)
            try:
                peer.map(maybe_die, [(file.name, i) for i in range(1000)], 1)
                sys.exit("the death was not reported")
            except Exception:
                waits.append(1e3 * (time.monotonic() - float(file.read())))
            signal.alarm(0)
    return {"outcome_ms": statistics.median(waits)}


def memory_kib():
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))


def lazy_items(make, sizes):
    items, chunksize = int(sizes["items"]), int(sizes["chunksize"])
    peer = make()
    for _ in peer.imap(increment, iter(range(items // 100)), chunksize):
        pass
    before = memory_kib()
    begin = time.perf_counter()
    taken = 0
    growth = 0
    for _ in peer.imap(increment, iter(range(items)), chunksize):
        taken += 1
        if taken % 100 == 0:
            time.sleep(0.001)
            growth = max(growth, memory_kib() - before)
            if time.perf_counter() > begin + sizes["slow_s"]:
                break
    # Its end would run the whole input.
    print(json.dumps({"slow_growth_kib": growth}), flush=True)
    os._exit(0)


def many_workers(make, sizes):
    result = {}
    for workers in (1, 2, 4, 16, 64):
        peer = make(workers)
        tasks = int(sizes["tasks_a_worker"]) * workers
        spent = median_seconds(sizes["budget"] / 2,
                               lambda: peer.map(sleep_a_little, range(tasks), 1))
        result[f"per_s_with_{workers}"] = tasks / spent
        peer.end()
    return result


def idle(make, sizes):
    def cpu(pids):
        total = time.process_time()
        for pid in pids:
            with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0]) / 1e9
        return total

    def percent(f):
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            pids = file.read().split()
        before = cpu(pids)
        spent = seconds(f)
        return 100 * (cpu(pids) - before) / spent

    peer = make()
    peer.map(increment, range(100), 1)
    sleeps = int(sizes["workers"] * sizes["sleeps"])
    return {"idle_cpu_percent": percent(lambda: time.sleep(sizes["idle_s"])),
            "slow_tasks_cpu_percent": percent(
                lambda: peer.map(sleep_ten_milliseconds, range(sleeps), 1))}


WORKLOADS = {"W1": empty_tasks, "W2": trivial_items, "W3": round_trips, "W4": payloads,
             "W5": uneven_tasks, "W5s": short_tasks, "W6": make_and_destroy, "W7": deaths,
             "W8": lazy_items, "W9w": many_workers, "W10": idle}


def main():
    contender, workload = sys.argv[1:3]
    sizes = {"workers": 2.0, "budget": 0.3}
    for argument in sys.argv[3:]:
        name, value = argument.split("=")
        sizes[name] = float(value)
    checkout = os.environ.get(f"LIBPOOL_BENCH_{contender.upper()}")
    if checkout:
        sys.path.insert(0, checkout)
    make = CONTENDERS[contender]
    try:
        importlib.import_module(make.module)
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(ABSENT)
    result = WORKLOADS[workload](lambda workers=int(sizes["workers"]): make(workers), sizes)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
