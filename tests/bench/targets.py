"""What ProcessPool and ThreadPool are to reach: ratios of medians in one run."""

import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class Target:
    """`metric` of `contender` in `case`, divided by the best of `others` (case, contender, metric).

    Without others the value itself is judged; without a bound the ratio is only shown. Where more
    is better, the best is the largest and the bound is a least one; else the other way round.
    """

    case: str
    metric: str
    others: tuple
    more_is_better: bool
    bound: float | None
    text: str
    contender: str = "ProcessPool"


def more(case, metric, others, bound, text, **rest):
    return Target(case, metric, tuple(others), True, bound, text, **rest)


def less(case, metric, others, bound, text, **rest):
    return Target(case, metric, tuple(others), False, bound, text, **rest)


def w1():
    for metric in ("map_per_s", "imap_unordered_per_s"):
        call = metric.removesuffix("_per_s")
        for other, bound in (("Asio", 1), ("TBB task_group", 1), ("message_queue", 2.5),
                             ("shared rings", 1), ("rings", None)):
            yield more("W1/2", metric, [("W1/2", other, "tasks_per_s")], bound, f"{call} ÷ {other}")
        yield more("W1/2", metric, [("W1/2", "Python Pool", metric)], 150,
                   f"{call} ÷ Python Pool's")
        yield more("W1/16", metric, [("W1/2", "ProcessPool", metric)], 0.7,
                   f"{call}, 16 workers ÷ 2 workers")
    yield more("W1/2", "apply_async_per_s", [], 1e6, "apply_async, tasks/s")


def w2():
    rate = "items_per_s"
    for case in ("W2/1e6", "W2/1e7", "W2/1e6/warm", "W2/1e7/warm"):
        for other, bound in (("serial", 0.4), ("rings", None), ("message_queue", 1.4),
                             ("Python Pool", 40)):
            if other != "Python Pool" or not case.endswith("warm"):
                yield more(case, rate, [(case, other, rate)], bound, f"map ÷ {other}")
        yield more(case, rate, [(case, "TBB parallel_for", rate)], 0.9,
                   "ThreadPool map ÷ TBB parallel_for", contender="ThreadPool")


def w3():
    # Where TBB waits for a task_group, the waiting thread runs the task itself: no hand-over.
    pools = ("TBB parallel_for", "Asio", "std::async", "Taskflow", "BS::thread_pool",
             "message_queue", "pipes", "Python Pool", "ProcessPoolExecutor")
    yield less("W3", "p50_us", [], 2, "median, µs")
    yield less("W3", "p50_us", [("W3", "rings", "p50_us")], 3, "median ÷ rings")
    yield less("W3", "p50_us", [("W3", pool, "p50_us") for pool in pools], 1,
               "median ÷ best pool but OpenMP")
    yield less("W3", "p99_us", [("W3", pool, "p99_us") for pool in pools], 1,
               "p99 ÷ best pool but OpenMP")
    # A worker that takes no CPU while it is idle has to be woken.
    yield less("W3", "idle_p50_us", [("W3", "parking rings", "idle_p50_us")], 1.5,
               "after 1 ms idle, median ÷ parking rings")
    yield less("W3", "idle_p50_us", [("W3", "rings", "idle_p50_us")], None,
               "the same ÷ rings, which never sleep")


def w4():
    for case in ("W4/1M", "W4/16M"):
        yield more(case, "in_out_gib_per_s", [(case, "rings", "in_out_gib_per_s")], 0.8,
                   "in and out ÷ rings into fresh memory")
        yield more(case, "in_out_gib_per_s", [(case, "Python Pool", "in_out_gib_per_s")], 4,
                   "in and out ÷ Python Pool")
        yield more(case, "in_gib_per_s", [(case, "rings", "in_view_gib_per_s")], None,
                   "in only ÷ rings in place")
        yield more(case, "in_view_gib_per_s", [(case, "rings", "in_view_gib_per_s")], 0.6,
                   "in only, by view ÷ rings in place")
        yield more(case, "in_out_view_gib_per_s", [(case, "rings", "in_out_view_gib_per_s")], 0.6,
                   "in and out, by view ÷ rings in place")


def w5():
    threads = ("TBB parallel_for", "Asio", "OpenMP", "std::async", "Taskflow", "BS::thread_pool")
    for work in ("mandelbrot", "primes", "sha256"):
        for chunks in ("chunk_1", "auto"):
            metric = f"{work}_{chunks}"
            yield more("W5/uneven", metric, [], 0.97, f"efficiency, {metric}")
            # A peer's best is with chunks of its own choice or without.
            others = [("W5/uneven", pool, f"{work}_{own}") for pool in threads
                      for own in ("chunk_1", "auto")]
            yield more("W5/uneven", metric, others, 0.98, f"{metric} ÷ best thread pool")
    yield more("W5/short", "efficiency_5_us", [], 0.9, "efficiency, tasks of 5 µs")


def w6():
    for workers, bound in ((2, 3), (16, 2), (64, 2), (256, 2)):
        case = f"W6/{workers}"
        yield less(case, "ms", [(case, "fork", "ms")], bound, f"{workers} workers ÷ as many forks")
    yield less("W6/1GiB", "ms", [("W6/1GiB", "fork", "one_more_ms")], 1.2, "÷ forks of one more")
    yield less("W6/prefork", "ms", [("W6/2", "ProcessPool", "ms")], 1.2, "÷ from a small parent")
    yield less("W6/2", "worker_kib", [], 200, "an idle worker of 2, KiB (PSS)")
    yield less("W6/64", "worker_kib", [], 200, "an idle worker of 64, KiB (PSS)")
    yield less("W6/2", "worker_kib", [("W6/2", "fork", "worker_kib")], None, "÷ a bare child of 2")


def w7():
    for case in ("W7/small", "W7/1GiB"):
        yield less(case, "outcome_ms", [], 1, "death to outcome, ms")
        yield less(case, "claim_ms", [], 2, "death to a replacement's first task, ms")
    yield less("W7/small", "longer_ms", [], 5, "the map takes longer, ms")


def w8():
    yield more("W8", "imap_per_s", [("W8", "ProcessPool", "map_per_s")], 0.8,
               "imap ÷ map, same chunk size")
    yield less("W8", "fast_growth_kib", [], 1024, "growth, fast consumer, KiB")
    yield less("W8", "slow_growth_kib", [], 1024, "growth, slow consumer, KiB")


def w9():
    yield more("W9/workers", "per_s_with_256", [("W9/workers", "ProcessPool", "per_s_with_16")],
               0.9, "256 workers ÷ 16 workers")
    yield less("W9/items", "growth_alone", [], 1.25, "cost of an item, most ÷ 10^4, chunk size 1")
    yield less("W9/items", "growth", [], 1.25, "the same, automatic chunks")
    yield less("W9/bytes", "worst_step", [], 1.5, "worst step of a byte's cost, 8 times the size")


def w10():
    yield less("W10", "idle_cpu_percent", [], 0.5, "CPU of an idle pool, %")
    yield less("W10", "slow_tasks_cpu_percent", [("W10", "Asio", "slow_tasks_cpu_percent")], None,
               "CPU with sleeping tasks ÷ Asio")
    yield less("W10", "crowded_p50_us", [("W3", "ProcessPool", "p50_us")], None,
               "apply with 16 workers ÷ with 2")
    yield less("W10", "one_cpu_p50_us", [("W10", "pipes", "one_cpu_p50_us")], None,
               "apply on one CPU ÷ pipes")


TARGETS = [*w1(), *w2(), *w3(), *w4(), *w5(), *w6(), *w7(), *w8(), *w9(), *w10()]


def samples(results, case, contender, metric):
    """One value a round, None where the contender failed or took no part."""
    rounds = results.get(case, {}).get(contender, {}).get("rounds", [])
    return [each.get(metric) if each else None for each in rounds]


def median(values):
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


def judge(target, results):
    """The ratio of the medians, the least and the largest of a round, and whether it is met."""
    mine = samples(results, target.case, target.contender, target.metric)
    theirs = [samples(results, *other) for other in target.others]
    theirs = [values for values in theirs if median(values) is not None]
    if median(mine) is None or (target.others and not theirs):
        return None
    best = max if target.more_is_better else min
    if target.others:
        value = median(mine) / best(median(values) for values in theirs)
        # Against a peer that took part in fewer rounds, each of mine is compared with its median.
        rounds = [[values[i] if i < len(values) and values[i] is not None else median(values)
                   for values in theirs] for i in range(len(mine))]
        ratios = [one / best(others) for one, others in zip(mine, rounds) if one is not None]
    else:
        value = median(mine)
        ratios = [one for one in mine if one is not None]
    met = None
    if target.bound is not None:
        met = value >= target.bound if target.more_is_better else value <= target.bound
    return {"value": value, "low": min(ratios), "high": max(ratios), "met": met}
