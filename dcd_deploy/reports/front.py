"""The front of accuracy × latency × size as an SVG picture: up is accurate, left is quick, a small disc is small.

Discs are numbered, and named beside the plot. Those that no other model beats are blue. The picture has a ground of its
own, light or dark as the reader's system is, and stands in a page as it does alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import count, takewhile
from typing import NamedTuple

from dcd_deploy.evaluation.results import MODEL, Evaluated, EvaluationResult
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports.html.jinja import rendered
from dcd_deploy.reports.html.plotting import FONT, shortened

WIDTH, LEFT, TOP, RIGHT, BOTTOM = 940, 74, 34, 544, 364  # pixels: of the picture, and of the plot in it
LEGEND_ROW = 46
LARGEST_DISC, SMALLEST_DISC = 30.0, 9.0
NUMBER = 16  # pixels, of a number at a disc
SPREAD = 4  # of times, from which on a logarithmic axis reads better
NICE = (1.0, 2.0, 5.0)

Scale = Callable[[float], float]
Ticks = list[tuple[float, str]]


def front_svg(result: EvaluationResult) -> str:
    """Return the picture as a file of its own."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{front(result)}\n'


def front(result: EvaluationResult) -> str:
    """Return the picture as an element.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    models = [each for each in result.models if each.role == MODEL]
    times = [_ms(each) for each in models]
    wide = max(times) / min(times) > SPREAD
    x, across = _time_axis(min(times), max(times), wide=wide)
    y, up = _share_axis(models)
    return rendered(
        "front.svg",
        font=FONT,
        width=WIDTH,
        height=max(BOTTOM + 62, TOP + LEGEND_ROW * len(models) + 70),
        left=LEFT,
        top=TOP,
        right=RIGHT,
        bottom=BOTTOM,
        row=LEGEND_ROW,
        said="; ".join(f"{each.name}: {numbers.percent(each.top1.share)}, {_cost(each)}" for each in models),
        across=across,
        up=up,
        wide=wide,
        discs=_discs(models, x, y),
        numbers=_numbers(models, x, y),
        legend=[(shortened(each.name, 44), _facts(each)) for each in models],
    )


def _ms(each: Evaluated) -> float:
    return max(1e-6, each.latency_ms or 0.0)  # a file that anybody wrote may have no times


def _cost(each: Evaluated) -> str:
    return f"{numbers.milliseconds(each.latency_ms or 0.0)}, {numbers.size(each.size_bytes)}"


def _facts(each: Evaluated) -> str:
    interval = f"{100 * each.top1.low:.1f}–{100 * each.top1.high:.1f}"
    return f"{numbers.percent(each.top1.share)} ({interval}), {_cost(each)}"


class Disc(NamedTuple):
    """A model in the plot, in pixels; ``low`` and ``high`` are the ends of the interval of its accuracy."""

    x: float
    y: float
    low: float
    high: float
    radius: float
    front: bool


def _discs(models: Sequence[Evaluated], x: Scale, y: Scale) -> list[Disc]:
    """Return discs whose areas are the sizes; a small one lies on a large one."""
    largest = max(each.size_bytes for each in models) or 1
    return [
        Disc(
            x=x(_ms(each)),
            y=y(each.top1.share),
            low=y(each.top1.low),
            high=y(each.top1.high),
            radius=round(max(SMALLEST_DISC, LARGEST_DISC * math.sqrt(each.size_bytes / largest)), 1),
            front=each.front,
        )
        for each in sorted(models, key=lambda each: -each.size_bytes)
    ]


def _numbers(models: Sequence[Evaluated], x: Scale, y: Scale) -> list[tuple[float, float]]:
    """Return the places of the numbers, each above its interval; where two would meet one stands on the other."""
    placed: list[tuple[float, float]] = []
    for each in models:
        across, up = x(_ms(each)), y(each.top1.high) - 6
        while any(abs(across - one) < NUMBER and abs(up - other) < NUMBER for one, other in placed):
            up -= NUMBER
        placed.append((across, up))
    return placed


def _time_axis(low: float, high: float, *, wide: bool) -> tuple[Scale, Ticks]:
    """Return the places of milliseconds from left to right, and the axis."""
    first, last = (low / 1.6, high * 1.6) if wide else (0.0, high * 1.25)

    def place(ms: float) -> float:
        share = math.log(max(ms, first) / first) / math.log(last / first) if wide else ms / last
        return round(LEFT + (RIGHT - LEFT) * share, 1)

    ticks = _powers(first, last) if wide else _steps(first, last)
    return place, [(place(tick), f"{tick:g}") for tick in ticks]


def _share_axis(models: Sequence[Evaluated]) -> tuple[Scale, Ticks]:
    """Return the places of shares from bottom to top, and the axis in percent."""
    low, high = min(each.top1.low for each in models), max(each.top1.high for each in models)
    room = 0.12 * (high - low)  # for discs at the ends
    first, last = low - room, high + room

    def place(share: float) -> float:
        return round(TOP + (BOTTOM - TOP) * (last - share) / (last - first), 1)

    return place, [(place(tick / 100), f"{tick:g}") for tick in _steps(100 * first, min(100.0, 100 * last))]


def _steps(low: float, high: float) -> list[float]:
    """Return four to nine round numbers, evenly spaced, from ``low`` to ``high``."""
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = max(power * nice for nice in NICE if power * nice <= (high - low) / 4)
    start = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in takewhile(lambda i: i * step <= high + 1e-9, count(start))]


def _powers(low: float, high: float) -> list[float]:
    """Return 1, 2, 5, 10, … from ``low`` to ``high``; of a wide range the powers of ten alone."""
    few = NICE if high / low < 300 else (1.0,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [nice * 10.0**power for power in powers for nice in few if low <= nice * 10.0**power <= high]
