"""Tables of a run: ratios against the targets, and the medians behind them."""

import matrix
import targets


def number(value):
    """Three digits or four; thousands as k, M and G."""
    for limit, divisor, unit in ((1e9, 1e9, " G"), (1e6, 1e6, " M"), (1e4, 1e3, " k")):
        if abs(value) >= limit:
            return f"{value / divisor:.3g}{unit}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio_line(target, results):
    judged = targets.judge(target, results)
    sign = "≥" if target.more_is_better else "≤"
    bound = "" if target.bound is None else f"{sign} {number(target.bound)}"
    if judged is None:
        # Nothing to compare with, or a call that the library does not offer.
        return f"{target.case:11} {target.text:46} {'-':>8} {'':24} {bound:>8}  not measured"
    spread = f"({number(judged['low'])} – {number(judged['high'])})"
    verdict = {True: "met", False: "NOT MET", None: ""}[judged["met"]]
    return (f"{target.case:11} {target.text:46} {number(judged['value']):>8} {spread:24} {bound:>8}"
            f"  {verdict}").rstrip()


def ratio_lines(results):
    yield f"{'case':11} {'ratio of medians':46} {'value':>8} {'(low – high)':24} {'target':>8}"
    met = []
    for target in targets.TARGETS:
        if target.case in results and target.contender in results[target.case]:
            yield ratio_line(target, results)
            judged = targets.judge(target, results)
            if target.bound is not None:
                met.append(bool(judged and judged["met"]))
    yield f"{sum(met)} of {len(met)} targets met"


def figures(rounds):
    """`metric median (low – high)` for each metric of one contender."""
    for name in dict.fromkeys(name for each in rounds if each for name in each):
        values = [each[name] for each in rounds if each and name in each]
        text = f"{name} {number(targets.median(values))}"
        if len(values) > 1:
            text += f" ({number(min(values))} – {number(max(values))})"
        yield text


def absolute_lines(results):
    for case in matrix.CASES:
        if case.name not in results:
            continue
        yield ""
        yield f"{case.name}: {case.title}"
        for contender, outcome in results[case.name].items():
            if "absent" in outcome:
                yield f"  {contender:20} absent: {outcome['absent']}"
                continue
            texts = list(figures(outcome["rounds"]))
            if outcome["failures"]:
                texts.append("FAILED: " + "; ".join(sorted(set(outcome["failures"]))))
            yield f"  {contender:20} " + "  ".join(texts)


def part_lines(parts):
    if not parts:
        return
    yield ""
    yield "Single parts of the library, ns"
    if isinstance(parts, str):
        yield f"  {parts}"
    else:
        yield from (f"  {name:26} {number(time):>8}" for name, time in parts.items())
