"""The front of accuracy × latency × size as an SVG picture: up is accurate, left is quick, a small disc is small.

Discs are numbered, and named beside the plot. Those that no other model beats are blue. The picture has a ground of its
own, light or dark as the reader's system is, and stands in a page as it does alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import count, takewhile

from dcd_deploy.evaluation.results import MODEL, Evaluated, EvaluationResult
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports.html.plotting import FONT, Markup, element, shortened

WIDTH, LEFT, TOP, PLOT_WIDTH, PLOT_HEIGHT = 940, 74, 34, 470, 330
LEGEND = LEFT + PLOT_WIDTH + 36
LEGEND_ROW = 46
LARGEST_DISC, SMALLEST_DISC = 30.0, 9.0
NUMBER = 16  # pixels, of a number at a disc
SPREAD = 4  # of times, from which on a logarithmic axis reads better
NICE = (1.0, 2.0, 5.0)
STYLE = f"""
  .front text {{ font: 14px {FONT}; fill: #1f2328 }} .front .small {{ font-size: 12.5px; fill: #57606a }}
  .front .middle {{ text-anchor: middle }} .front .end {{ text-anchor: end }} .front .head {{ font-weight: 600 }}
  .front .ground {{ fill: #f6f8fa; stroke: #d0d7de }} .front .rule {{ stroke: #d0d7de }}
  .front .bar {{ stroke: #57606a; stroke-width: 1.5 }}
  .front .disc {{ stroke: #57606a; fill: #57606a; fill-opacity: 0.08 }}
  .front .best {{ stroke: #0b5fa5; fill: #0b5fa5; fill-opacity: 0.3 }}
  @media (prefers-color-scheme: dark) {{
    .front text {{ fill: #e6edf3 }} .front .small {{ fill: #a3adb8 }}
    .front .ground {{ fill: #161b22; stroke: #30363d }} .front .rule {{ stroke: #30363d }}
    .front .bar, .front .disc {{ stroke: #a3adb8 }} .front .disc {{ fill: #a3adb8 }}
    .front .best {{ stroke: #62b4f5; fill: #62b4f5 }}
  }}"""

Scale = Callable[[float], float]


def front_svg(result: EvaluationResult) -> str:
    """Return the picture as a file of its own."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{front(result)}\n'


def front(result: EvaluationResult) -> Markup:
    """Return the picture as an element."""
    models = [each for each in result.models if each.role == MODEL]
    height = max(TOP + PLOT_HEIGHT + 62, TOP + LEGEND_ROW * len(models) + 70)
    x, across = _time_axis([each.latency_ms or 0.0 for each in models])
    y, up = _share_axis(models)
    said = "; ".join(map(_words, models))
    return element(
        "svg",
        element("title", f"Accuracy, latency and size of {said}"),
        element("style", Markup(STYLE)),
        element("rect", x=".5", y=".5", width=f"{WIDTH - 1}", height=f"{height - 1}", rx="12", class_="ground"),
        *across,
        *up,
        *_discs(models, x, y),
        *_numbers(models, x, y),
        *_legend(models),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height}",
        width="100%",
        style=f"max-width: {WIDTH}px",
        role="img",
        class_="front",
    )


def _words(each: Evaluated) -> str:
    milliseconds = numbers.milliseconds(each.latency_ms or 0.0)
    return f"{each.name}: {numbers.percent(each.top1.share)}, {milliseconds}, {numbers.size(each.size_bytes)}"


def _discs(models: Sequence[Evaluated], x: Scale, y: Scale) -> Iterator[Markup]:
    """Yield discs whose areas are the sizes, with the intervals of accuracy; a small one lies on a large one."""
    largest = max(each.size_bytes for each in models) or 1
    for each in sorted(models, key=lambda each: -each.size_bytes):
        radius = max(SMALLEST_DISC, LARGEST_DISC * math.sqrt(each.size_bytes / largest))
        across = f"{x(each.latency_ms or 0.0):.1f}"
        ends = {"y1": f"{y(each.top1.low):.1f}", "y2": f"{y(each.top1.high):.1f}"}
        yield element("line", x1=across, x2=across, class_="bar", **ends)
        look = "best" if each.front else "disc"
        yield element("circle", cx=across, cy=f"{y(each.top1.share):.1f}", r=f"{radius:.1f}", class_=look)


def _numbers(models: Sequence[Evaluated], x: Scale, y: Scale) -> Iterator[Markup]:
    """Yield the numbers, each above its interval; where two would meet one stands on the other."""
    placed: list[tuple[float, float]] = []
    for number, each in enumerate(models, 1):
        across, up = x(each.latency_ms or 0.0), y(each.top1.high) - 6
        while any(abs(across - one) < NUMBER and abs(up - other) < NUMBER for one, other in placed):
            up -= NUMBER
        placed.append((across, up))
        yield _text(across, up, str(number), "middle head")


def _legend(models: Sequence[Evaluated]) -> Iterator[Markup]:
    for number, each in enumerate(models, 1):
        top = TOP + LEGEND_ROW * (number - 1) + 14
        interval = f"{100 * each.top1.low:.1f}–{100 * each.top1.high:.1f}"
        facts = f"{numbers.percent(each.top1.share)} ({interval}), {numbers.milliseconds(each.latency_ms or 0.0)}, "
        yield _text(LEGEND, top, f"{number}", "head")
        yield _text(LEGEND + 24, top, shortened(each.name, 44), "head")
        yield _text(LEGEND + 24, top + 19, facts + numbers.size(each.size_bytes), "small")
    bottom = TOP + LEGEND_ROW * len(models) + 16
    yield _text(LEGEND, bottom, "Blue: no other is as good or better in all three.", "small")
    yield _text(LEGEND, bottom + 18, "Area: size. Lines: 95 % interval of top-1.", "small")


def _time_axis(times: Sequence[float]) -> tuple[Scale, list[Markup]]:
    """Return the places of milliseconds from left to right, and the axis."""
    low, high = (max(1e-6, end) for end in (min(times), max(times)))  # a file that anybody wrote may have no times
    wide = high / low > SPREAD
    first, last = (low / 1.6, high * 1.6) if wide else (0.0, high * 1.25)
    ticks = _powers(first, last) if wide else _steps(first, last)

    def place(ms: float) -> float:
        share = math.log(max(ms, first) / first) / math.log(last / first) if wide else ms / last
        return LEFT + PLOT_WIDTH * share

    bottom, drawn = TOP + PLOT_HEIGHT, []
    for tick in ticks:
        ends = {"x1": f"{place(tick):.1f}", "x2": f"{place(tick):.1f}", "y1": f"{TOP}", "y2": f"{bottom}"}
        drawn += [element("line", class_="rule", **ends), _text(place(tick), bottom + 20, f"{tick:g}", "middle small")]
    title = "mean milliseconds for an image" + (" (logarithmic)" if wide else "")
    return place, [*drawn, _text(LEFT + PLOT_WIDTH / 2, bottom + 44, title, "middle small")]


def _share_axis(models: Sequence[Evaluated]) -> tuple[Scale, list[Markup]]:
    """Return the places of shares from bottom to top, and the axis in percent."""
    low, high = min(each.top1.low for each in models), max(each.top1.high for each in models)
    room = 0.12 * (high - low)  # for discs at the ends
    first, last = low - room, high + room

    def place(share: float) -> float:
        return TOP + PLOT_HEIGHT * (last - share) / (last - first)

    drawn = []
    for tick in _steps(100 * first, min(100.0, 100 * last)):
        ends = {"y1": f"{place(tick / 100):.1f}", "y2": f"{place(tick / 100):.1f}"}
        ends |= {"x1": f"{LEFT}", "x2": f"{LEFT + PLOT_WIDTH}"}
        drawn.append(element("line", class_="rule", **ends))
        drawn.append(_text(LEFT - 10, place(tick / 100) + 5, f"{tick:g} %", "end small"))
    return place, [*drawn, _text(LEFT, TOP - 12, "top-1", "small")]


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


def _text(x: float, y: float, words: str, look: str) -> Markup:
    return element("text", words, x=f"{x:.1f}", y=f"{y:.1f}", class_=look)
