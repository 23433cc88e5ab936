"""What ProcessPool and ThreadPool are to reach: ratios of medians in one run."""

import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class Target:
    """`metric` of `contender` in `case`, divided by the best (or `pick`) of `others`."""

    case: str
    contender: str
    metric: str
    others: tuple  # of (case, contender, metric); empty: the value itself is judged
    pick: object
    at_least: bool
    bound: float
    text: str


def _rates(case, metric, others, bound, text, contender="ProcessPool", pick=max):
    return Target(case, contender, metric, tuple(others), pick, True, bound, text)


def _times(case, metric, others, bound, text, contender="ProcessPool", pick=min):
    return Target(case, contender, metric, tuple(others), pick, False, bound, text)


def _w1():
    for metric in ("map_per_s", "imap_unordered_per_s"):
        call = metric.removesuffix("_per_s")
        for other, bound in (("Asio", 1), ("TBB task_group", 1), ("message_queue", 2.5),
                             ("shared rings", 1)):
            yield _rates("W1", metric, [("W1", other, "tasks_per_s")], bound, f"{call} ÷ {other}")
        yield _rates("W1", metric, [("W1", "Python Pool", metric)], 150, f"{call} ÷ Python Pool's")
        yield _rates("W1/16", metric, [("W1", "ProcessPool", metric)], 0.7,
                     f"{call}, 16 workers ÷ 2 workers")
        yield _rates("W1", metric, [("W1", "rings", "tasks_per_s")], 0, f"{call} ÷ rings")
    yield _rates("W1", "apply_async_per_s", [], 1e6, "apply_async, tasks/s")


def _w2():
    rate = "items_per_s"
    for case in ("W2/1e6", "W2/1e7"):
        for other, bound in (("serial", 0.4), ("Python Pool", 40), ("message_queue", 1.4),
                             ("rings", 0)):
            yield _rates(case, rate, [(case, other, rate)], bound, f"map ÷ {other}")
        yield _rates(case, rate, [(case, "TBB parallel_for", rate)], 0.9,
                     "ThreadPool map ÷ TBB parallel_for", "ThreadPool")
    yield _rates("W2/warm", rate, [("W2/warm", "serial", rate)], 0.4, "map ÷ serial")
    yield _rates("W2/warm", rate, [("W2/warm", "rings", rate)], 0, "map ÷ rings")


POOLS = ("TBB parallel_for", "Asio", "std::async", "message_queue", "pipes", "Python Pool")


def _w3():
    yield _times("W3", "p50_us", [], 2, "median, µs")
    yield _times("W3", "p50_us", [("W3", "rings", "p50_us")], 3, "median ÷ rings")
    yield _times("W3", "p50_us", [("W3", pool, "p50_us") for pool in POOLS], 1,
                 "median ÷ best pool but OpenMP")
    yield _times("W3", "p99_us", [("W3", pool, "p99_us") for pool in POOLS], 1,
                 "p99 ÷ best pool but OpenMP")
    yield _times("W3", "idle_p50_us", [("W3", "rings", "idle_p50_us")], 1.5,
                 "after 1 ms idle, median ÷ rings")


TARGETS = [*_w1(), *_w2(), *_w3()]


def samples(results, case, contender, metric):
    """One value a round, None where the contender failed or is absent."""
    rounds = results.get(case, {}).get(contender, {}).get("rounds", [])
    return [each.get(metric) if each else None for each in rounds]


def median(values):
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


def judge(target, results):
    """The ratio of the medians, the smallest and largest ratio of a round, and whether it is met."""
    mine = samples(results, target.case, target.contender, target.metric)
    theirs = [samples(results, *other) for other in target.others]
    theirs = [values for values in theirs if median(values) is not None]
    if median(mine) is None or (target.others and not theirs):
        return None
    if not target.others:
        ratios = [value for value in mine if value is not None]
        value = median(mine)
    else:
        value = median(mine) / target.pick(median(values) for values in theirs)
        ratios = [one / target.pick(other for other in others if other is not None)
                  for one, *others in zip(mine, *theirs)
                  if one is not None and any(other is not None for other in others)]
    met = value >= target.bound if target.at_least else value <= target.bound
    return {"value": value, "low": min(ratios), "high": max(ratios), "met": met}
