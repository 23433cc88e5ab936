"""The tasks of the benchmark in Python, and Python's pools behind one interface.

Tasks lie in a module of their own, so that workers which do not fork can import them.
"""

import hashlib
import os
import signal
import time


def increment(x):
    return x + 1


def echo(buffer):
    return buffer


def sleep_a_little(_):
    time.sleep(0.0001)


def sleep_ten_milliseconds(_):
    time.sleep(0.01)


def primes_of_hundred(hundred):
    count = 0
    for n in range(100 * hundred + 1, 100 * (hundred + 1), 2):
        d = 3
        while d * d <= n and n % d:
            d += 2
        count += n > 1 and d * d > n
    return count


def digest(buffer):
    return hashlib.sha256(buffer).hexdigest()


def compute(steps):
    for _ in range(steps):
        pass


def maybe_die(task):
    """Item 500 notes the time and kills its worker; the others take 50 µs."""
    path, index = task
    if index == 500:
        with open(path, "w", encoding="ascii") as file:
            file.write(str(time.monotonic()))
        os.kill(os.getpid(), signal.SIGKILL)
    begin = time.monotonic()
    while time.monotonic() < begin + 50e-6:
        pass


def automatic(size, workers):
    """The rule of multiprocessing.Pool, for those whose own default is 1."""
    return max(1, size // (4 * workers))


class Peer:
    """What all have; each also has map, one, and, if it is lazy, imap."""

    def other_calls(self, tasks):
        """More ways to run single tasks: those that the interface tells apart."""
        return {}


class Pool(Peer):
    """multiprocessing.Pool."""

    module = "multiprocessing"

    def __init__(self, workers):
        import multiprocessing
        self.pool = multiprocessing.Pool(workers)

    def map(self, f, items, chunksize=None):
        return self.pool.map(f, items, chunksize)

    def one(self, f, x):
        return self.pool.apply(f, (x,))

    def imap(self, f, items, chunksize):
        return self.pool.imap(f, items, chunksize)

    def other_calls(self, tasks):
        def imap_unordered():
            for _ in self.pool.imap_unordered(increment, range(tasks)):
                pass

        def apply_async():
            for each in [self.pool.apply_async(increment, (x,)) for x in range(tasks)]:
                each.get()

        return {"imap_unordered": imap_unordered, "apply_async": apply_async}

    def end(self):
        self.pool.close()
        self.pool.join()


class Executor(Peer):
    """concurrent.futures.ProcessPoolExecutor."""

    module = "concurrent.futures"

    def __init__(self, workers):
        import concurrent.futures
        self.workers = workers
        self.pool = concurrent.futures.ProcessPoolExecutor(workers)

    def map(self, f, items, chunksize=None):
        chunksize = chunksize or automatic(len(items), self.workers)
        return list(self.pool.map(f, items, chunksize=chunksize))

    def one(self, f, x):
        return self.pool.submit(f, x).result()

    def imap(self, f, items, chunksize):
        return self.pool.map(f, items, chunksize=chunksize)

    def other_calls(self, tasks):
        def submit():
            for each in [self.pool.submit(increment, x) for x in range(tasks)]:
                each.result()
        return {"apply_async": submit}

    def end(self):
        self.pool.shutdown()


class Joblib(Peer):
    """joblib.Parallel with its default, loky, kept between calls."""

    module = "joblib"

    def __init__(self, workers):
        import joblib
        self.delayed = joblib.delayed
        self.parallel = joblib.Parallel(n_jobs=workers).__enter__()

    def map(self, f, items, chunksize=None):
        self.parallel.batch_size = chunksize or "auto"
        return self.parallel(self.delayed(f)(x) for x in items)

    def one(self, f, x):
        return self.map(f, [x])[0]

    def end(self):
        from joblib.externals import loky
        loky.get_reusable_executor().shutdown(wait=True)


class Mpire(Peer):
    """mpire.WorkerPool."""

    module = "mpire"

    def __init__(self, workers):
        import mpire
        self.pool = mpire.WorkerPool(workers, keep_alive=True)

    def map(self, f, items, chunksize=None):
        return self.pool.map(f, items, chunk_size=chunksize)

    def one(self, f, x):
        return self.pool.apply(f, (x,))

    def imap(self, f, items, chunksize):
        return self.pool.imap(f, items, chunk_size=chunksize)

    def end(self):
        self.pool.stop_and_join()


class Pebble(Peer):
    """pebble.ProcessPool."""

    module = "pebble"

    def __init__(self, workers):
        import pebble
        self.workers = workers
        self.pool = pebble.ProcessPool(max_workers=workers)

    def map(self, f, items, chunksize=None):
        chunksize = chunksize or automatic(len(items), self.workers)
        return list(self.pool.map(f, items, chunksize=chunksize).result())

    def one(self, f, x):
        return self.pool.schedule(f, args=[x]).result()

    def end(self):
        self.pool.close()
        self.pool.join()


CONTENDERS = {"pool": Pool, "executor": Executor, "joblib": Joblib, "mpire": Mpire,
              "pebble": Pebble}
