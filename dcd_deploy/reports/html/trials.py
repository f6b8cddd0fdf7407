"""The plots of each trial: how its runs are distributed, whether its ratio was steady; of counts, their ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median, pstdev
from typing import Any

from dcd_deploy.benchmarks.counts import CountTrial
from dcd_deploy.benchmarks.results import MODEL, Timing, Trial
from dcd_deploy.benchmarks.statistics import Ratio
from dcd_deploy.reports import counts as counts_wording
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports import wording
from dcd_deploy.reports.counts import ROWS
from dcd_deploy.reports.html.plotting import (
    ROW,
    SYMBOLS,
    Figure,
    Trace,
    axis,
    bar,
    label,
    over,
    plot_layout,
    rows_layout,
    tints,
    upright,
)

MOST_RUNS = 1500  # of one model in one plot; of more their quantiles are drawn
SHOWN = 0.985  # of the runs of each model are sure to lie within the plot
FINEST = 300  # parts of a plot's width: about two pixels


def latencies(trial: Trial) -> Figure:
    """Return how the runs of each model of a trial are distributed; the slowest of all may lie beyond the edge."""
    models = [(t, _role(t), sorted(ms for block in t.samples.blocks_ms for ms in block)) for t in trial.timings]
    last = len(models) - 1
    names = [(last - i, f"{who}: {numbers.milliseconds(t.latency.median_ms)}") for i, (t, who, _) in enumerate(models)]
    left = min(runs[0] for _, _, runs in models)
    right = 1.04 * max(runs[math.ceil(SHOWN * len(runs)) - 1] for _, _, runs in models)
    data = [_violin(last - i, models[i][2], tint, left, right) for i, tint in enumerate(tints(trial))]
    layout = rows_layout(names, 84, "milliseconds for one run", top=0.8)
    layout["xaxis"]["range"] = [left - 0.03 * (right - left), right]
    note = "The box holds the middle half of the runs, its line is the median." + _beyond(
        [r for *_, r in models], right
    )
    alt = "; ".join(f"{who}: {_said(t)}" for t, who, _ in models)
    return Figure("How long a run takes", data, layout, alt, note)


def _said(timing: Timing) -> str:
    at = timing.latency
    return f"median {numbers.milliseconds(at.median_ms)}, 99 % of runs within {numbers.milliseconds(at.p99_ms)}"


def _beyond(runs: Sequence[Sequence[float]], right: float) -> str:
    """Return how many runs the plot leaves out, so that a rare hiccup is told without squeezing all others."""
    late = [ms for times in runs for ms in times if ms > right]
    if not late:
        return ""
    count = "1 run lies" if len(late) == 1 else f"{len(late)} runs lie"
    return f" {count} beyond the right edge; the slowest took {numbers.milliseconds(max(late))}."


def _violin(row: int, times: Sequence[float], tint: str, left: float, right: float) -> Trace:
    """Return the density of sorted times, as far as the plot shows it."""
    return {
        "type": "violin",
        "orientation": "h",
        "x": _thinned(times),
        "bandwidth": _bandwidth(times, left, right),
        "y0": row,
        "side": "positive",
        "width": 1.15,
        "points": False,
        "spanmode": "manual",
        "span": [times[0], min(right, times[-1])],
        "hoverinfo": "none",
        "line": {"color": f"@{tint}", "width": 1.5},
        "fillcolor": f"@{tint}-soft",
        "box": {"visible": True, "width": 0.16, "fillcolor": "@card", "line": {"color": f"@{tint}", "width": 2}},
        "showlegend": False,
    }


def _bandwidth(times: Sequence[float], left: float, right: float) -> float:
    """Return Silverman's bandwidth, or as little as can be seen.

    Plotly's own is a hundredth of the whole span at least: one slow run in ten thousand would blur all the others.
    """
    middle = times[3 * len(times) // 4] - times[len(times) // 4]
    silverman: float = 1.059 * min(middle / 1.349, pstdev(times)) * len(times) ** -0.2
    return max(silverman, (right - left) / FINEST)


def _thinned(times: Sequence[float]) -> list[float]:
    """Return at most MOST_RUNS of the sorted times, spread evenly over their ranks."""
    step = max(1.0, (len(times) - 1) / (MOST_RUNS - 1))
    return [round(times[round(i * step)], 5) for i in range(min(len(times), MOST_RUNS))]


def _role(timing: Timing) -> str:
    return wording.ROLES.get(timing.role, timing.name)


def ratio_over_time(trial: Trial) -> Figure | None:
    """Return the ratio of each block pair in the order of measuring: a drift of the machine would show as a slope."""
    data: list[Trace] = []
    shapes, said = [], []
    for tint, other in zip(tints(trial), trial.timings, strict=True):
        if other.name not in trial.ratios:
            continue
        pairs, ratio = _pairs(trial.timings[0], other), trial.ratios[other.name]
        data.append(_cloud(pairs, label(over(other), 30), tint, SYMBOLS[len(data) % len(SYMBOLS)]))
        shapes += _interval_band(ratio, tint)
        said.append(f"over {over(other)} between {min(pairs):.2f} and {max(pairs):.2f}, median {ratio.median:.3f}")
    if not data:
        return None
    rounds = trial.timings[0].samples.rounds
    borders = [i + 0.5 for i in range(1, len(rounds)) if rounds[i] != rounds[i - 1]]
    shapes += [upright(x, {"color": "@muted", "width": 1, "dash": "dot"}) for x in borders]
    layout = plot_layout(300) | {"shapes": shapes, "showlegend": len(data) > 1}
    layout["xaxis"] |= axis("block pair, in the order of measuring")
    layout["yaxis"] |= axis("ratio") | {"tickformat": ".2f"}
    note = "Line: median; band: its interval. A steady machine gives a level cloud."
    note += " At each dotted line the files were opened anew." if borders else ""
    return Figure("Is the ratio steady?", data, layout, "; ".join(said), note)


def _pairs(ours: Timing, theirs: Timing) -> list[float]:
    blocks = zip(ours.samples.blocks_ms, theirs.samples.blocks_ms, strict=False)
    return [round(median(a) / median(b), 5) for a, b in blocks]


def _cloud(pairs: Sequence[float], name: str, tint: str, symbol: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": list(range(1, len(pairs) + 1)),
        "y": pairs,
        "name": name,
        "marker": {"color": f"@{tint}", "size": 6, "symbol": symbol, "opacity": 0.85},
        "hovertemplate": "pair %{x}: %{y:.3f}<extra></extra>",
    }


def _interval_band(ratio: Ratio, tint: str) -> list[dict[str, Any]]:
    across = {"xref": "paper", "x0": 0, "x1": 1, "layer": "below"}
    band = {"type": "rect", "y0": ratio.low, "y1": ratio.high, "fillcolor": f"@{tint}-soft", "line": {"width": 0}}
    return [
        across | band,
        across | {"type": "line", "y0": ratio.median, "y1": ratio.median, "line": {"color": f"@{tint}", "width": 1.5}},
    ]


def count_ratios(trial: CountTrial) -> Figure | None:
    """Return the ratios of a trial's counts to those of the static twin as bars, with a line at 1."""
    found = counts_wording.static_ratios(trial)
    values = [] if found is None else [(name, getattr(found, name)) for name in counts_wording.counted_names(trial)]
    shown = [(name, value) for name, value in values if value is not None]
    if not shown:
        return None
    last = len(shown) - 1
    names = [(last - i, f"{ROWS[name]}: {value:.3f}") for i, (name, value) in enumerate(shown)]
    layout = rows_layout(names, ROW, "times as many as the static twin")
    dashed = {"color": "@ink", "width": 1.5, "dash": "dash"}
    layout["shapes"] = [upright(1.0, dashed) | {"layer": "above"}]  # the bars begin at 0 and would hide it
    layout["xaxis"]["range"] = [0, 1.08 * max(1.0, *(value for _, value in shown))]
    drawn = bar([y for y, _ in names], [round(value, 4) for _, value in shown], "ratio", MODEL)
    told: Trace = {"hovertemplate": "%{x:.3f} times as many<extra></extra>", "showlegend": False}
    alt = "Over the static twin: " + "; ".join(text for _, text in names)
    note = "Right of the dashed line the model needs more than its static twin."
    return Figure("Over the static twin", [drawn | told], layout, alt, note)
