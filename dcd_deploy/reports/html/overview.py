"""The plots over all trials: ratios, start-up, accuracy against time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from dcd_deploy.benchmarks.results import MODEL, STATIC, BenchResult, Timing, Trial
from dcd_deploy.benchmarks.statistics import Ratio
from dcd_deploy.network_names import published
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports import wording
from dcd_deploy.reports.counts import network_name
from dcd_deploy.reports.front import SPREAD
from dcd_deploy.reports.html.plotting import (
    OTHERS,
    ROW,
    SYMBOLS,
    Figure,
    Trace,
    apart,
    axis,
    bar,
    label,
    plot_layout,
    rows_layout,
    shortened,
    tints,
    upright,
)

PAIR = 2


def forest(result: BenchResult) -> Figure | None:
    """Return all ratios with their intervals on one axis, with a line at 1."""
    rows = _compared(result)
    if not rows:
        return None
    ends = [end for _, ratio, _ in rows for end in (ratio.low, ratio.high)] + [1.0]
    left, right = min(ends), max(ends)
    room = 0.06 * (right - left or 1)
    data, names, said = [], [], []
    for i, (who, ratio, tint) in enumerate(rows):
        y, text = len(rows) - 1 - i, f"{ratio.median:.2f} ({wording.span(ratio)})"
        data += [_point(ratio, y, tint), _beside_interval(ratio, y, text, (left + right) / 2)]
        names.append((y, who))
        said.append(f"{who}: {text}")
    layout = rows_layout(names, ROW, "times as long (1 = equally fast)")
    dashed = {"color": "@muted", "width": 1.5, "dash": "dash"}
    layout["shapes"] = [upright(1.0, dashed)]
    layout["xaxis"]["range"] = [left - room, right + room]
    return Figure("", data, layout, "; ".join(said))


def _compared(result: BenchResult) -> list[tuple[str, Ratio, str]]:
    """Return for each ratio whose it is, itself, and its colour's name."""
    found = []
    for trial in result.trials:
        for tint, other in zip(tints(trial), trial.timings, strict=True):
            if other.name in trial.ratios:
                who = wording.trial_name(result, trial) if other.role == STATIC else f"over {shortened(other.name, 24)}"
                found.append((", ".join([who, *apart(result, trial)]), trial.ratios[other.name], tint))
    return found


def _point(ratio: Ratio, y: int, tint: str) -> Trace:
    reach = {"array": [ratio.high - ratio.median], "arrayminus": [ratio.median - ratio.low]}
    symbol = SYMBOLS[[MODEL, STATIC, *OTHERS].index(tint)]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [ratio.median],
        "y": [y],
        "marker": {"color": f"@{tint}", "size": 10, "symbol": symbol},
        "error_x": reach | {"type": "data", "symmetric": False, "color": f"@{tint}", "thickness": 2, "width": 5},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _beside_interval(ratio: Ratio, y: int, text: str, middle: float) -> Trace:
    """Return the ratio in figures, on the side of its interval where there is more room."""
    before = ratio.median > middle
    return {
        "type": "scatter",
        "mode": "text",
        "x": [ratio.low if before else ratio.high],
        "y": [y],
        "text": [f"{text}\u2003" if before else f"\u2003{text}"],
        "textposition": "middle left" if before else "middle right",
        "textfont": {"color": "@ink"},
        "hoverinfo": "skip",
        "showlegend": False,
        "cliponaxis": False,
    }


def start_up(result: BenchResult) -> list[Figure]:
    """Return the time to the first answer (load and first run), and that of the warm-up."""
    rows = [
        (trial, timing)
        for trial in result.trials
        if trial.ratios or len(trial.timings) == 1  # what is only shown beside others has a trial of its own
        for timing in trial.timings
        if timing.samples.load_ms and timing.samples.first_ms
    ]
    if not rows:
        return []
    first = _bars(result, rows, {"load": "load_ms", "first run": "first_ms"}, ("against3", "against2"))
    figures = [
        Figure(
            "From the file to the first answer", *first, "Opening the file and the first run, medians over the rounds."
        )
    ]
    if all(timing.samples.warmup_ms for _, timing in rows):
        warm = _bars(result, rows, {"warm-up": "warmup_ms"}, ("against3",))
        figures.append(Figure("Warm-up", *warm, "The runs between the first one and the counted ones, together."))
    return figures


def _bars(
    result: BenchResult, rows: Sequence[tuple[Trial, Timing]], parts: dict[str, str], colours: Sequence[str]
) -> tuple[list[Trace], dict[str, Any], str]:
    places = list(range(len(rows) - 1, -1, -1))
    names = [
        (y, ", ".join([_short(result, trial, t), *apart(result, trial)]))
        for y, (trial, t) in zip(places, rows, strict=True)
    ]
    values = {part: [round(median(getattr(t.samples, field)), 4) for _, t in rows] for part, field in parts.items()}
    data = [bar(places, values[part], part, tint) for part, tint in zip(parts, colours, strict=True)]
    layout = rows_layout(names, ROW, "milliseconds") | {"barmode": "stack", "showlegend": len(parts) > 1}
    alt = "; ".join(
        f"{who}: " + ", ".join(f"{part} {numbers.milliseconds(values[part][i])}" for part in parts)
        for i, (_, who) in enumerate(names)
    )
    return data, layout, alt


def _short(result: BenchResult, trial: Trial, timing: Timing) -> str:
    if timing.role == MODEL:
        return wording.trial_name(result, trial)
    return network_name(timing) if timing.role == STATIC else shortened(timing.name, 24)


def front(result: BenchResult) -> Figure | None:
    """Return published accuracy against measured time per picture, where the networks' accuracies are known."""
    trials = [(trial, points) for trial in result.trials if len(points := _known(trial)) > 1]
    # Where many networks were measured in turns, only those: another trial had another machine's mood.
    trials = [(trial, points) for trial, points in trials if len(points) > PAIR] or trials
    if not trials:
        return None
    data = []
    for i, (trial, points) in enumerate(trials):
        for name, line in _lines(result, trial, points):
            data.append(_line(line, label(name), SYMBOLS[i % len(SYMBOLS)]))
    every = [point for _, points in trials for point in points]
    across = _time_axis([point.ms for point in every])
    layout = plot_layout(400) | {"showlegend": True, "annotations": _named_once(every, across)}
    layout["xaxis"] |= across
    heights = [point.top1 for point in every]
    layout["yaxis"] |= axis("published top-1, %") | {"range": [min(heights) - 1.5, max(heights) + 1.5]}
    said = "; ".join(f"{point.network}: {point.top1} % in {numbers.milliseconds(point.ms)}" for point in every)
    return Figure("", data, layout, said)


@dataclass(frozen=True)
class Point:
    """A network's measured milliseconds per picture and published accuracy in percent."""

    ms: float
    top1: float
    network: str
    role: str

    @property
    def family(self) -> str:
        """What is told apart by width or depth alone."""
        return self.network.partition(" ")[0].partition("-")[0]


def _known(trial: Trial) -> list[Point]:
    """Return the networks of a trial whose accuracies are published, dynamic ones in the model's colour."""
    pairs = [(timing, found) for timing in trial.timings if (found := published(timing.network))]
    roles = {True: MODEL, False: STATIC}
    return [
        Point(t.latency.median_ms / trial.batch, p.top1, network_name(t), roles["_dcd" in (t.network or "")])
        for t, p in pairs
    ]


def _lines(result: BenchResult, trial: Trial, points: Sequence[Point]) -> list[tuple[str, list[Point]]]:
    """Return what a line connects: a pair; of more networks the dynamic ones, and the static ones."""
    if len(points) <= PAIR:
        return [(", ".join([wording.trial_name(result, trial), *apart(result, trial)]), list(points))]
    where = ", ".join(apart(result, trial)) or trial.runtime
    groups = {"dynamic": MODEL, "static": STATIC}
    lines = [
        (f"{kind}, {where}", sorted((p for p in points if p.role == role), key=lambda p: (p.family, p.ms)))
        for kind, role in groups.items()
    ]
    return [(name, line) for name, line in lines if line]


def _line(points: Sequence[Point], name: str, symbol: str) -> Trace:
    """Return the points, those of one family connected, in the order given."""
    placed: list[Point | None] = list(points)
    for i in range(len(points) - 1, 0, -1):
        if points[i].family != points[i - 1].family:
            placed.insert(i, None)  # a gap in the line
    return {
        "type": "scatter",
        "mode": "markers+lines",
        "x": [point.ms if point else None for point in placed],
        "y": [point.top1 if point else None for point in placed],
        "name": name,
        "line": {"color": "@muted", "width": 1, "dash": "dot"},
        "marker": {"size": 12, "symbol": symbol, "color": [f"@{point.role if point else MODEL}" for point in placed]},
        "hovertemplate": "%{y} %, %{x:.3~g} ms<extra></extra>",
    }


def _time_axis(values: Sequence[float]) -> dict[str, Any]:
    """Return an axis of milliseconds: logarithmic, with numbers at 1, 2, 5, 10, …, where a plain one would crowd."""
    if max(values) < SPREAD * min(values):
        room = 0.3 * (max(values) - min(values) or max(values))
        return axis("measured milliseconds per picture") | {"range": [min(values) - room, max(values) + room]}
    ticks = [step * 10.0**power for power in range(-4, 8) for step in (1, 2, 5)]
    ends = [math.log10(min(values)) - 0.15, math.log10(max(values)) + 0.15]
    shown = {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks], "range": ends}
    return axis("measured milliseconds per picture (log)") | shown


def _named_once(points: Sequence[Point], across: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one text for each network at the first of its points, within the plot of axis ``across``; twins' below."""
    left, right = across["range"]
    first = {point.network: point for point in reversed(points)}.values()
    found = []
    for point in first:
        x = math.log10(point.ms) if across.get("type") == "log" else point.ms  # where annotations of a log axis stand
        third = min(2, int(3 * (x - left) / (right - left)))
        place = {
            "x": x,
            "y": point.top1,
            "xanchor": ("left", "center", "right")[third],
            "yshift": 16 if point.role == MODEL else -16,
        }
        found.append(place | {"text": label(point.network), "showarrow": False, "font": {"size": 12}})
    return found
