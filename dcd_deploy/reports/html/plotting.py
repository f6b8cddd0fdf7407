"""What all plots of the page share: their colours, their frame, bars, and how trials are named in them.

Colours are names like "@static", which page.js looks up in page.css. Names of models stand above their bars instead of
beside them, so that the plots fit a phone.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dcd_deploy.benchmarks.results import MODEL, STATIC, BenchResult, Timing, Trial
from dcd_deploy.reports import wording
from dcd_deploy.reports.terminal import plain


def label(text: str, longest: int = 46) -> str:
    """Return a text for Plotly, which takes a little HTML in labels for markup; a long one loses its middle."""
    return html.escape(shortened(text, longest), quote=False)


def shortened(text: str, longest: int) -> str:
    """Return a text with its control characters visible, and without its middle if it is longer than ``longest``."""
    text, half = plain(text), (longest - 1) // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"


Trace = dict[str, Any]

ROW = 46  # pixels for a name and its bar
LEAST = 150  # pixels of a plot, below which Plotly lets an axis and its title collide
EDGES = 84  # pixels for an axis and its title
OTHERS = ("against", "against2", "against3")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
HATCHES = {MODEL: "", STATIC: "/", "against": "x", "against2": "/", "against3": ""}  # of bars
FONT = "system-ui, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"


@dataclass(frozen=True)
class Figure:
    """Plotly's data and layout; ``title`` and ``note`` stand above and below, ``alt`` is read to who cannot see it."""

    title: str
    data: list[Trace]
    layout: dict[str, Any]
    alt: str
    note: str = ""


def tints(trial: Trial) -> list[str]:
    """Return the colour's name of each timing of a trial."""
    against, found = 0, []
    for timing in trial.timings:
        known = timing.role in (MODEL, STATIC)
        found.append(timing.role if known else OTHERS[against % len(OTHERS)])
        against += not known
    return found


def bar(places: Sequence[int], values: Sequence[float], part: str, tint: str, width: float = 0.4) -> Trace:
    """Return the horizontal bars of one part; colour and hatch tell parts apart."""
    pattern = {
        "shape": HATCHES[tint],
        "fillmode": "replace",
        "fgcolor": f"@{tint}",
        "bgcolor": f"@{tint}-soft",
        "size": 6,
    }
    marker = {"color": f"@{tint}", "pattern": pattern, "line": {"width": 1, "color": f"@{tint}"}}
    return {
        "type": "bar",
        "orientation": "h",
        "x": values,
        "y": list(places),
        "width": width,
        "name": part,
        "marker": marker,
        "hovertemplate": f"{part} %{{x:.3~g}} ms<extra></extra>",
    }


def apart(result: BenchResult, trial: Trial) -> list[str]:
    """Return what sets a trial apart from the others: its runtime; device, threads and batch where they differ."""
    parts = wording.trial_parts(trial, version=False)
    differ = [True, *(len({wording.trial_parts(t, version=False)[i] for t in result.trials}) > 1 for i in (1, 2))]
    device = [trial.device] if len({t.device for t in result.trials}) > 1 else []
    return device + [part for part, shown in zip(parts, differ, strict=True) if shown]


def over(timing: Timing) -> str:
    """Return what a ratio is over, as a sentence has it."""
    return "its static twin" if timing.role == STATIC else timing.name


def upright(x: float, line: dict[str, Any]) -> dict[str, Any]:
    """Return a line across the plot's height, behind what is drawn."""
    return {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "layer": "below", "line": line}


def rows_layout(names: Sequence[tuple[int, str]], row: int, title: str, top: float = 0.44) -> dict[str, Any]:
    """Return the layout of a plot with a row for each name, its text above what is drawn at its place."""
    layout = plot_layout(row * len(names) + EDGES)
    layout["xaxis"] |= axis(title) | {"zeroline": False}
    layout["yaxis"] |= {"visible": False, "range": [-0.4, len(names) - 1 + max(top, 0.5) + 0.15]}
    layout["annotations"] = [
        {
            "x": 0,
            "xref": "paper",
            "y": y + top,
            "text": label(text, 46),
            "showarrow": False,
            "xanchor": "left",
            "align": "left",
            "font": {"size": 12},
            "bgcolor": "@card",
            "borderpad": 1,
        }
        for y, text in names
    ]
    return layout


def axis(title: str) -> dict[str, Any]:
    """Return what gives an axis its title."""
    return {"title": {"text": title, "standoff": 6}}


def plot_layout(height: int) -> dict[str, Any]:
    """Return the layout that all plots begin with; nothing can be dragged, so that a finger scrolls the page."""
    frame = {
        "gridcolor": "@rule",
        "linecolor": "@rule",
        "zerolinecolor": "@rule",
        "fixedrange": True,
        "automargin": True,
    }
    return {
        "height": max(height, LEAST),
        "margin": {"l": 8, "r": 12, "t": 8, "b": 42},
        "paper_bgcolor": "@clear",
        "plot_bgcolor": "@clear",
        "font": {"color": "@ink", "size": 12, "family": FONT},
        "dragmode": False,
        "xaxis": dict(frame),
        "yaxis": dict(frame),
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        "hoverlabel": {"bgcolor": "@card", "bordercolor": "@rule"},
    }
