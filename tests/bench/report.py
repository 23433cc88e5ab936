"""Tables of a run: ratios against the targets, and the medians behind them."""

import matrix
import targets


def number(value):
    """Four digits at most, thousands as k, M and G."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= limit:
            return f"{value / (limit if limit != 1e4 else 1e3):.3g}{unit}"
    return f"{value:.3g}"


def verdict(target, judged):
    if judged is None:
        return "not measured"
    if target.at_least and target.bound == 0:
        return ""
    return "met" if judged["met"] else "NOT MET"


def ratio_lines(results):
    yield f"{'case':8} {'ratio of medians':42} {'value':>8} {'(low – high of the rounds)':26} {'target':>9}"
    for target in targets.TARGETS:
        if target.case not in results:
            continue
        judged = targets.judge(target, results)
        value, spread = "-", ""
        if judged:
            value = number(judged["value"])
            spread = f"({number(judged['low'])} – {number(judged['high'])})"
        bound = f"{'≥' if target.at_least else '≤'} {number(target.bound)}"
        if target.at_least and target.bound == 0:
            bound = ""
        yield (f"{target.case:8} {target.text:42} {value:>8} {spread:26} {bound:>9}"
               f"  {verdict(target, judged)}").rstrip()


def absolute_lines(results):
    for case in matrix.CASES:
        if case.name not in results:
            continue
        yield ""
        yield f"{case.name}: {case.title}"
        for contender, outcome in results[case.name].items():
            if "absent" in outcome:
                yield f"  {contender:18} absent: {outcome['absent']}"
                continue
            names = dict.fromkeys(name for each in outcome["rounds"] if each for name in each)
            figures = []
            for name in names:
                values = [each[name] for each in outcome["rounds"] if each and name in each]
                figures.append(f"{name} {number(targets.median(values))} "
                               f"({number(min(values))} – {number(max(values))})")
            failures = "; ".join(sorted(set(outcome["failures"])))
            yield f"  {contender:18} " + "  ".join(figures + ([f"FAILED: {failures}"] if failures else []))
