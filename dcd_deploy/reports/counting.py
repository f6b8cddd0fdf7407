"""How counts read in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from dcd_deploy.benchmarks.counts import Counts
from dcd_deploy.benchmarks.results import BenchResult
from dcd_deploy.devices.emulated.layers import LayerCounts, added
from dcd_deploy.devices.emulated.setup import EmulationSetup
from dcd_deploy.network_names import labelled
from dcd_deploy.reports import counts_wording, numbers
from dcd_deploy.reports.machine import as_plain
from dcd_deploy.reports.terminal import line, show_table
from dcd_deploy.runtimes.nodes import PARTS

NO_LAYER = "(no layer)"


def show_counts(screen: Console, result: BenchResult) -> None:
    """Print a table for each model and core, what could not be counted, and what the counts rest on.

    Where times stand beside them, several cores begin with a table of all.
    """
    section = result.counts
    if section is None:
        return
    if result.trials and len(section.cores) > 1:
        show_table(screen, counts_wording.SUMMARY, *counts_wording.across_cores(section), left=2)
    for trial in section.trials:
        columns, rows = counts_wording.count_columns(trial), counts_wording.count_rows(trial)
        show_table(screen, counts_wording.count_title(trial), columns, rows)
    for failure in result.failures:
        if failure.device in section.cores:
            line(screen, f"! {failure.name} on {failure.runtime}, {failure.device}: {failure.reason}")
    if section.trials:
        _show_basis(screen, *counts_wording.counts_basis(section))


def show_setup(screen: Console, setup: EmulationSetup) -> None:
    """Print what emulation has to work with."""
    versions = ", ".join(f"{name} {version}" for name, version in setup.versions.items())
    line(screen, f"QEMU {setup.qemu}; in the aarch64 root: Python {setup.python}, {versions}; kept in {setup.folder}")
    line(screen, f"cores: {', '.join(setup.cores)}")
    if setup.counting is not None:
        line(screen, f"! verifying works, counting does not: {setup.counting}")
    line(
        screen, f"done in {setup.seconds:.1f} s; next: dcd-deploy verify MODEL --device arm64-emulated:{setup.cores[0]}"
    )


def show_layer_counts(screen: Console, result: LayerCounts) -> None:
    """Print the instructions of each layer by part, its multiply-adds and its traffic, and what they rest on."""
    layers, total = result.by_layer(), result.total()
    parts = [part for part in PARTS if part in result.by_part()]
    rows = [_layer_row(layer, counts, parts, total) for layer, counts in layers.items()]
    rows.append(_layer_row("all", result.by_part(), parts, total))
    model, runtime = labelled(result.model, result.network), f"{result.runtime} {result.runtime_version}"
    title = f"{model}  {result.core}, {runtime}, instructions of one run"
    show_table(screen, title, ("layer", *parts, "sum", "share", "FMLA", "traffic beyond L2", "share"), rows)
    within = numbers.percent(total.instructions / result.whole.instructions)
    whole = numbers.count(result.whole.instructions)
    line(screen, f"the nodes together are {within} of the {whole} instructions of a run without the profiler")
    _show_basis(screen, f"QEMU {result.qemu}", *result.assumptions)


def layer_counts_as_plain(result: LayerCounts) -> dict[str, Any]:
    """Return counts by layer for JSON, the sums included."""
    plain: dict[str, Any] = as_plain(result)
    return plain | {"layers": as_plain(result.by_layer()), "parts": as_plain(result.by_part())}


def _layer_row(layer: str, counts: dict[str, Counts], parts: Sequence[str], total: Counts) -> tuple[str, ...]:
    found = added(*counts.values())
    return (
        layer or NO_LAYER,
        *(numbers.count(counts[part].instructions) if part in counts else "" for part in parts),
        numbers.count(found.instructions),
        numbers.percent(found.instructions / total.instructions),
        numbers.count(found.fmla),
        numbers.size(found.traffic_bytes),
        numbers.percent(found.traffic_bytes / max(1, total.traffic_bytes)),
    )


def _show_basis(screen: Console, versions: str, *assumptions: str) -> None:
    line(screen, versions)
    for text in assumptions:
        line(screen, f"* {text}")
