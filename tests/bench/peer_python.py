"""Python's pools: multiprocessing.Pool, ProcessPoolExecutor, joblib with loky, mpire, Pebble.

Usage: peer_python.py CONTENDER WORKLOAD [name=value]... ; prints one line of JSON.
"""

import json
import multiprocessing
import statistics
import sys
import time


def increment(x):
    return x + 1




def median_seconds(budget, f):
    """As in bench.hpp: a first run to warm up, then until the budget is used."""
    begin = time.perf_counter()
    f()
    spent = time.perf_counter() - begin
    if spent >= budget:
        return spent
    samples = []
    while sum(samples) < budget:
        begin = time.perf_counter()
        f()
        samples.append(time.perf_counter() - begin)
    return statistics.median(samples)


def round_trips(sizes, call):
    def samples(count, idle):
        result = []
        for _ in range(count):
            time.sleep(idle)
            begin = time.perf_counter()
            call(increment, 1)
            result.append(1e6 * (time.perf_counter() - begin))
        return sorted(result)

    def percentile(values, q):
        return values[int(q * (len(values) - 1) + 0.5)]

    samples(20, 0)
    busy = samples(int(sizes["calls"]), 0)
    idle = samples(int(sizes["idle_calls"]), 0.001)
    return {"p50_us": percentile(busy, 0.5), "p99_us": percentile(busy, 0.99),
            "idle_p50_us": percentile(idle, 0.5), "idle_p99_us": percentile(idle, 0.99)}


class Pool:
    """multiprocessing.Pool, which has one call for everything."""

    def __init__(self, workers):
        self.pool = multiprocessing.Pool(workers)

    def empty_tasks(self, sizes):
        tasks = int(sizes["tasks"])

        def imap_unordered():
            for _ in self.pool.imap_unordered(increment, range(tasks)):
                pass

        def apply_async():
            for each in [self.pool.apply_async(increment, (x,)) for x in range(tasks)]:
                each.get()

        calls = {"map": lambda: self.pool.map(increment, range(tasks), chunksize=1),
                 "imap_unordered": imap_unordered, "apply_async": apply_async}
        return {f"{name}_per_s": tasks / median_seconds(sizes["budget"], call)
                for name, call in calls.items()}

    def trivial_items(self, sizes):
        items = list(range(int(sizes["items"])))
        spent = median_seconds(sizes["budget"], lambda: self.pool.map(increment, items))
        return {"items_per_s": len(items) / spent}

    def round_trips(self, sizes):
        return round_trips(sizes, lambda f, x: self.pool.apply(f, (x,)))


CONTENDERS = {"pool": Pool}
WORKLOADS = {"W1": "empty_tasks", "W2": "trivial_items", "W3": "round_trips"}


def main():
    contender, workload = sys.argv[1:3]
    sizes = {"workers": 2.0, "budget": 0.3}
    for argument in sys.argv[3:]:
        name, value = argument.split("=")
        sizes[name] = float(value)
    peer = CONTENDERS[contender](int(sizes["workers"]))
    print(json.dumps(getattr(peer, WORKLOADS[workload])(sizes)))


if __name__ == "__main__":
    main()
