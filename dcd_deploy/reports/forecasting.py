"""How a forecast of what each lowering costs reads."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from dcd_deploy.reports import numbers
from dcd_deploy.reports.terminal import line, show_table
from dcd_deploy.tuning.forecast import Forecast, LoweringForecast, ShapeForecast
from dcd_deploy.tuning.subject import sizes_text

COLUMNS = (
    "layer",
    "layers",
    "lowering",
    "",
    "µs more",
    "multiply-adds",
    "computed",
    "maps",
    "layout",
    "weights",
    "nodes",
)


def show_forecast(screen: Console, forecast: Forecast) -> None:
    """Print a row for each lowering of each shape of layer, and the sum of those taken."""
    title = f"{forecast.network} at {sizes_text(forecast.inputs)} on {forecast.target}, by its cost model"
    show_table(screen, title, COLUMNS, (row for shape in forecast.shapes for row in _rows(shape)), left=4)
    line(
        screen, "µs: more than the static layer, warm; maps, layout and weights: kB moved beyond one pass over the maps"
    )
    line(screen, "computed: the share of the multiply-adds that is by weights made anew for each input")
    line(screen, f"the network: {numbers.count(forecast.macs_as_trained)} multiply-adds for one input as trained")
    line(screen, f"all layers in the lowerings taken: {forecast.extra_us:.0f} µs more than the static ones")
    line(screen, "next: dcd-deploy tune measures them on a device")


def _rows(shape: ShapeForecast) -> Iterator[tuple[str, ...]]:
    for number, lowering in enumerate(shape.lowerings):
        first = (shape.case.title, str(len(shape.layers))) if number == 0 else ("", "")
        yield (*first, lowering.lowering, "taken" if lowering.lowering == shape.taken else "", *_numbers(lowering))


def _numbers(lowering: LoweringForecast) -> tuple[str, ...]:
    cost = lowering.cost
    computed = f"{cost.computed_macs / cost.macs:.0%}"
    moved = (f"{4 * floats / 1e3:.0f}" for floats in (cost.map_floats, cost.layout_floats, cost.weight_floats))
    return (f"{lowering.extra_us:.1f}", f"{cost.macs / 1e6:.2f} M", computed, *moved, str(cost.nodes))
