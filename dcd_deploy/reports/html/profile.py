"""Where a network's time goes, layer by layer, for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports.html.plotting import EDGES, Figure, bar, label, plot_layout

MOST_LAYERS = 60
PARTS = {"static part": "static", "dynamic branch": "model", "change of layout": "against3"}


@dataclass(frozen=True)
class LayerTime:
    """Milliseconds that one layer takes in a run."""

    layer: str
    static_ms: float
    dynamic_ms: float
    layout_ms: float

    @property
    def total_ms(self) -> float:
        """All three together."""
        return self.static_ms + self.dynamic_ms + self.layout_ms


@dataclass(frozen=True)
class Profile:
    """The layers of one model in the network's order; ``title`` says which model, and on what."""

    title: str
    layers: tuple[LayerTime, ...]


def layers(profile: Profile) -> Figure:
    """Return a bar for each layer; beyond MOST_LAYERS the quickest ones are one bar."""
    shown = _most(profile.layers)
    places = list(range(len(shown) - 1, -1, -1))
    times = ([round(getattr(layer, f"{kind}_ms"), 5) for layer in shown] for kind in ("static", "dynamic", "layout"))
    data = [bar(places, values, part, PARTS[part], width=0.7) for part, values in zip(PARTS, times, strict=True)]
    layout = plot_layout(20 * len(shown) + EDGES) | {"barmode": "stack", "showlegend": True}
    layout["xaxis"] |= {"title": {"text": "milliseconds of a run", "standoff": 6}}
    names = [label(layer.layer, 26) for layer in shown]
    layout["yaxis"] |= {
        "tickvals": places,
        "ticktext": names,
        "tickfont": {"size": 11},
        "range": [-0.7, len(shown) - 0.3],
    }
    return Figure(profile.title, data, layout, _said(profile.layers))


def _most(layers: Sequence[LayerTime]) -> list[LayerTime]:
    if len(layers) <= MOST_LAYERS:
        return list(layers)
    slow = sorted(layers, key=lambda layer: -layer.total_ms)[: MOST_LAYERS - 1]
    kept = {id(layer) for layer in slow}
    rest = [layer for layer in layers if id(layer) not in kept]
    sums: dict[str, Any] = {
        f"{k}_ms": sum(getattr(r, f"{k}_ms") for r in rest) for k in ("static", "dynamic", "layout")
    }
    return [*(layer for layer in layers if id(layer) in kept), LayerTime(f"{len(rest)} other layers", **sums)]


def _said(layers: Sequence[LayerTime]) -> str:
    sums = [sum(getattr(layer, f"{kind}_ms") for layer in layers) for kind in ("static", "dynamic", "layout")]
    parts = ", ".join(f"{part} {numbers.milliseconds(ms)}" for part, ms in zip(PARTS, sums, strict=True))
    slowest = max(layers, key=lambda layer: layer.total_ms, default=None)
    return f"in all: {parts}" + (f"; the slowest layer is {slowest.layer}" if slowest else "")
