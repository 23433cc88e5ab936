"""Draws a run with gnuplot, as SVG and PNG: one plot for each question that a picture answers."""

import dataclasses
import os
import re
import shutil
import subprocess

import matrix
import targets

TERMINALS = {"svg": "svg size 900,560 font 'sans,13' background rgb 'white'",
             "png": "pngcairo size 900,560 font 'sans,11'"}


@dataclasses.dataclass(frozen=True)
class Plot:
    """Bars: one metric of all contenders of a case. Lines: metrics whose names hold the x value."""

    file: str
    case: str
    metric: str  # for lines, a regular expression with one group
    title: str
    x: str = ""
    y: str = ""
    linear: bool = False


BARS = [
    Plot("tasks", "W1/2", "map_per_s tasks_per_s", "Empty tasks a second, chunk size 1, 2 workers"),
    Plot("tasks_16", "W1/16", "map_per_s tasks_per_s", "The same with 16 workers"),
    Plot("items", "W2/1e7", "items_per_s", "Trivial items a second, map of 10^7"),
    Plot("round_trip", "W3", "p50_us", "Round trip of one call, median, µs"),
    Plot("round_trip_idle", "W3", "idle_p50_us", "Round trip after 1 ms of idleness, median, µs"),
    Plot("payload_1M", "W4/1M", "in_out_gib_per_s", "Buffers of 1 MiB, in and out, GiB/s"),
    Plot("payload_16M", "W4/16M", "in_out_gib_per_s", "Buffers of 16 MiB, in and out, GiB/s"),
    Plot("make", "W6/16", "ms with_a_task_ms", "Make and destroy a pool of 16, ms"),
]
LINES = [
    Plot("short_tasks", "W5/short", r"efficiency_(\d+)_us", "Short tasks, chunk size 1",
         "length of a task, µs", "parallel efficiency", True),
    Plot("workers", "W9/workers", r"per_s_with_(\d+)", "Tasks that sleep for 100 µs",
         "workers", "tasks a second"),
    Plot("many_items", "W9/items", r"ns_each_of_(\d+)", "Cost of a trivial item, automatic chunks",
         "items", "ns an item"),
    Plot("payload_sizes", "W9/bytes", r"us_an_item_of_(\d+)", "Payloads, in and out",
         "bytes of an item", "µs an item"),
]


def medians(results, case):
    """contender → metric → (median, low, high)"""
    for contender, outcome in results.get(case, {}).items():
        rounds = [each for each in outcome.get("rounds", []) if each]
        names = dict.fromkeys(name for each in rounds for name in each)
        columns = {name: [each[name] for each in rounds if name in each] for name in names}
        yield contender, {name: (targets.median(values), min(values), max(values))
                          for name, values in columns.items()}


def bars(plot, results):
    """Data and commands for bars on a logarithmic scale, the largest first."""
    rows = []
    for contender, metrics in medians(results, plot.case):
        own = next((metrics[name] for name in plot.metric.split() if name in metrics), None)
        if own and min(own) > 0:
            kind = next(each.kind for each in matrix.CONTENDERS if each.name == contender)
            rows.append((own, contender, ["limit", "libpool", "threads", "processes"].index(kind)))
    if not rows:
        return None
    rows.sort(reverse=True)
    data = "\n".join(f'{i} {own[0]} {own[1]} {own[2]} {kind} "{name}"'
                     for i, (own, name, kind) in enumerate(rows))
    # From a little below the smallest value: a bar on a logarithmic scale has to begin somewhere.
    floor = min(own[1] for own, _, _ in rows) / 2
    colors = "(0 '#999999', 1 '#c0392b', 2 '#2980b9', 3 '#27ae60')"
    ticks = ", ".join(f'"{name}" {i}' for i, (_, name, _) in enumerate(rows))
    return data, f"""
set logscale y; set yrange [{floor}:*]; set boxwidth 0.7; set style fill solid 0.85; set grid y
set xtics rotate by -40 ({ticks}); unset key; set palette defined {colors}; set cbrange [0:3]
unset colorbox; set rmargin 12; set format y "%.0s%c"
set title "{plot.title}\\n(grey: limits, red: libpool, blue: threads, green: processes)"
plot $data using 1:2:5 with boxes palette, \\
  $data using 1:3:(0):($4-$3) with vectors nohead lc 'black' lw 1.5
"""


def lines(plot, results):
    blocks, curves = [], []
    for contender, metrics in medians(results, plot.case):
        points = [(float(found.group(1)), *value) for name, value in metrics.items()
                  if (found := re.fullmatch(plot.metric, name))]
        if points:
            rows = "\n".join(" ".join(map(str, point)) for point in sorted(points))
            curves.append(f"$data index {len(blocks)} using 1:2 with linespoints lw 2 "
                          f"title '{contender}'")
            blocks.append(rows)
    if not blocks:
        return None
    scale = "set logscale x" if plot.linear else "set logscale xy"
    return "\n\n\n".join(blocks), f"""
{scale}; set grid; set key outside right; set format x "%.0s%c"
set title "{plot.title}"; set xlabel "{plot.x}"; set ylabel "{plot.y}"
plot {", ".join(curves)}
"""


def draw(results, folder):
    """Draws what the results suffice for; returns the names, or None without gnuplot."""
    gnuplot = shutil.which("gnuplot")
    if gnuplot is None:
        return None
    names = []
    for plot, prepare in [(plot, bars) for plot in BARS] + [(plot, lines) for plot in LINES]:
        prepared = prepare(plot, results)
        if prepared is None:
            continue
        data, commands = prepared
        for suffix, terminal in TERMINALS.items():
            path = os.path.join(folder, f"{plot.file}.{suffix}")
            script = (f"set encoding utf8\nset terminal {terminal} noenhanced\n"
                      f"set output '{path}'\n$data << END\n{data}\nEND\n{commands}")
            subprocess.run([gnuplot], input=script, text=True, check=True)
            names.append(path)
    return names
