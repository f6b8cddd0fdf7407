"""How the tuning of a network reads, and the forecast of what each lowering costs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console

from dcd_deploy.artifacts import FLOAT16, FLOAT32, INT8
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports.export import network_words
from dcd_deploy.reports.terminal import line, show_table
from dcd_deploy.reports.wording import environment_line
from dcd_deploy.tuning.forecast import Forecast, LoweringForecast, ShapeForecast, sizes_text
from dcd_deploy.tuning.layer_model import STATIC
from dcd_deploy.tuning.lowering_file import TunedLowering
from dcd_deploy.tuning.tune import QUICKER, UNDECIDED, UNMEASURED, TunedShape, TuneResult

COUNTED = ("multiply-adds", "computed", "maps", "layout", "weights", "nodes")


def show_forecast(screen: Console, forecast: Forecast) -> None:
    """Print a row for each lowering of each shape of layer, and the sum of those taken."""
    unit = forecast.unit.replace("thousand", "k")
    size, moved = (4, "kB") if forecast.precision == FLOAT32 else (1, "thousand values")
    title = f"{forecast.network} at {sizes_text(forecast.inputs)} on {forecast.target} in {forecast.precision}"
    columns = ("layer", "layers", "lowering", "", f"{unit} more", *COUNTED)
    rows = (row for shape in forecast.shapes for row in _rows(shape, size))
    show_table(screen, f"{title}, by its cost model", columns, rows, left=4)
    line(screen, f"{unit} more: than the static layer, warm; {forecast.basis}")
    line(screen, f"maps, layout and weights: {moved} moved beyond one pass over the maps")
    line(screen, "computed: the share of the multiply-adds that is by weights made anew for each input")
    line(screen, f"the network: {numbers.count(forecast.macs_as_trained)} multiply-adds for one input as trained")
    line(screen, f"all layers in the lowerings taken: {forecast.extra:.0f} {unit} more than the static ones")
    line(screen, "next: dcd-deploy tune measures them on a device")


def _rows(shape: ShapeForecast, size: int) -> Iterator[tuple[str, ...]]:
    for number, lowering in enumerate(shape.lowerings):
        first = (shape.case.title, str(len(shape.layers))) if number == 0 else ("", "")
        taken = "taken" if lowering.lowering == shape.taken else ""
        yield (*first, lowering.lowering, taken, *_numbers(lowering, size))


def _numbers(lowering: LoweringForecast, size: int) -> tuple[str, ...]:
    cost = lowering.cost
    computed = f"{cost.computed_macs / cost.macs:.0%}"
    moved = (f"{size * floats / 1e3:.0f}" for floats in (cost.map_floats, cost.layout_floats, cost.weight_floats))
    return (f"{lowering.extra:.1f}", f"{cost.macs / 1e6:.2f} M", computed, *moved, str(cost.nodes))


HALF_FEATURE = "asimdhp"  # of a processor, as Linux calls it
PRECISION_WORDS = {
    FLOAT32: (),
    FLOAT16: ("--precision", FLOAT16),
    INT8: ("--precision", INT8, "--calibrate", "FOLDER"),
}  # of the export that takes the file
MARKS = {QUICKER: "measured", UNDECIDED: "rule (too noisy to tell)", UNMEASURED: "rule (not measured)"}


def show_tuning(
    screen: Console,
    result: TuneResult,
    request: Mapping[str, Any],
) -> None:
    """Print the time of each lowering of each shape, what was chosen and why, and what to do with it.

    ``request`` has the ``checkpoint``, the ``out`` and by which options the network was named.
    """
    lowering = result.lowering
    names = list(dict.fromkeys(name for shape in result.shapes for name in shape.median_us if name != STATIC))
    columns = ("layer", "layers", "static µs", *names, "taken", "because of", "over the rule's")
    runtime = f"{lowering.runtime} {lowering.runtime_version}"
    made = "" if lowering.precision == FLOAT32 else f" in {lowering.precision}"
    title = f"{runtime} on {lowering.device}{made}, threads: {result.threads}; µs of a layer with its neighbours"
    show_table(screen, title, columns, (_row(shape, names) for shape in result.shapes))
    changed = sum(shape.choice.reason == QUICKER for shape in result.shapes)
    shapes = len(result.shapes)
    line(screen, f"{changed} of {shapes} shapes get another lowering than the rule of {lowering.target} takes")
    if result.undecided:
        line(
            screen,
            f"! the machine was too noisy to decide for {result.undecided} of them, which keep the rule's; close "
            "other programs and tune again",
        )
    if result.unmeasured:
        line(
            screen,
            f"! time was up before {result.unmeasured} of them were measured, which keep the rule's; tune again to go "
            "on: what was measured is kept",
        )
    if lowering.precision != FLOAT32:
        made = f"layers were written as an export in {lowering.precision} writes them, with ranges of random inputs"
        line(screen, made)
    if lowering.precision == FLOAT16 and HALF_FEATURE not in result.environment.features:
        line(screen, "! this machine has no arithmetic in half precision, and casts: tune on an ARM core that has it")
    line(screen, environment_line(result.environment))
    if (out := request.get("out")) is not None:
        words = ["dcd-deploy", "export", str(request["checkpoint"]), "--to", lowering.format]
        words += [*_network_words(lowering, request), *PRECISION_WORDS[lowering.precision], "--lowering", str(out)]
        line(screen, f"wrote {out}; next: {shlex.join(words)}")


def _network_words(lowering: TunedLowering, options: Mapping[str, Any]) -> list[str]:
    (channels, *sides), *_ = lowering.inputs
    if options.get("network") is None:
        return ["--input-size", "x".join(map(str, sides)), *network_words(options)]
    return [*network_words(options), "--input-shape", ",".join(map(str, (channels, *sides)))]


def _row(shape: TunedShape, names: list[str]) -> tuple[str, ...]:
    choice = shape.choice
    times = (_microseconds(shape.median_us[name]) if name in shape.median_us else "–" for name in names)
    gain = choice.ratios.get(choice.lowering)
    return (
        shape.case.title,
        str(len(shape.layers)),
        _microseconds(shape.median_us[STATIC]) if shape.median_us else "–",
        *times,
        choice.lowering,
        MARKS.get(choice.reason, "rule"),
        "" if gain is None else f"{gain.median:.2f} ({gain.low:.2f}–{gain.high:.2f})",
    )


def _microseconds(us: float) -> str:
    return f"{us:.1f}" if us < 10 else f"{us:.0f}"
