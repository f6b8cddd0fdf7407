"""How counts read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from dcd_deploy.devices.emulated.counting import CountedModel, CountResult, CountTrial
from dcd_deploy.devices.emulated.layers import LayerCounts, added
from dcd_deploy.devices.emulated.plugin import Counts
from dcd_deploy.devices.emulated.setup import EmulationSetup
from dcd_deploy.reports import numbers
from dcd_deploy.reports.machine import as_plain
from dcd_deploy.reports.terminal import line, show_table
from dcd_deploy.runtimes.nodes import PARTS

ROWS = {
    "instructions": "instructions",
    "fmla": "FMLA",
    "dot": "DOT",
    "mmla": "MMLA",
    "bytes_loaded": "bytes loaded",
    "bytes_stored": "bytes stored",
    "l1_misses": "L1 misses, modelled",
    "l2_misses": "L2 misses, modelled",
    "traffic_bytes": "traffic beyond L2, modelled",
}
BYTES = ("bytes_loaded", "bytes_stored", "traffic_bytes")
NO_LAYER = "(no layer)"


def show_counts(screen: Console, result: CountResult) -> None:
    """Print a table for each model and core, then what the counts rest on."""
    for trial in result.trials:
        _show_trial(screen, trial)
    for failure in result.failures:
        line(screen, f"! {failure.name} on {failure.runtime}, {failure.device}: {failure.reason}")
    _show_basis(screen, f"{result.qemu}; each count is the median of {result.runs} runs", result.assumptions)


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


def counts_as_plain(result: CountResult) -> dict[str, Any]:
    """Return a result for JSON, with the traffic and the ratios to each other model."""
    plain: dict[str, Any] = as_plain(result)
    for trial, found in zip(result.trials, plain["trials"], strict=True):
        for model, content in zip(trial.models, found["models"], strict=True):
            content["counts"]["traffic_bytes"] = model.counts.traffic_bytes
        found["ratios"] = {other.name: {name: trial.ratio(other, name) for name in ROWS} for other in trial.models[1:]}
    return plain


def show_layer_counts(screen: Console, result: LayerCounts) -> None:
    """Print the instructions of each layer by part, its multiply-adds and its traffic, and what they rest on."""
    layers, total = result.by_layer(), result.total()
    parts = [part for part in PARTS if part in result.by_part()]
    rows = [_layer_row(layer, counts, parts, total) for layer, counts in layers.items()]
    rows.append(_layer_row("all", result.by_part(), parts, total))
    title = f"{result.model}  {result.core}, {result.runtime} {result.runtime_version}, instructions of one run"
    show_table(screen, title, ("layer", *parts, "sum", "share", "FMLA", "traffic beyond L2", "share"), rows)
    within = numbers.percent(total.instructions / result.whole.instructions)
    whole = numbers.count(result.whole.instructions)
    line(screen, f"the nodes together are {within} of the {whole} instructions of a run without the profiler")
    _show_basis(screen, result.qemu, result.assumptions)


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


def ratio(value: float | None) -> str:
    """Return a ratio of counts with three decimals, or a dash where it has no sense."""
    return "–" if value is None else f"{value:.3f}"


def _show_basis(screen: Console, qemu: str, assumptions: Sequence[str]) -> None:
    line(screen, f"QEMU {qemu}")
    for text in assumptions:
        line(screen, f"* {text}")


def _show_trial(screen: Console, trial: CountTrial) -> None:
    first, *others = trial.models
    columns = ("", first.name, *(text for other in others for text in (other.name, "ratio")))
    rows = [
        (
            title,
            _shown(name, first),
            *(text for other in others for text in (_shown(name, other), _over(trial, other, name))),
        )
        for name, title in ROWS.items()
        if any(getattr(model.counts, name) for model in trial.models)
    ]
    title = f"{trial.core}, {trial.runtime} {trial.runtime_version}, 1 thread, batch {trial.batch}, per run"
    show_table(screen, title, columns, rows)


def _over(trial: CountTrial, other: CountedModel, name: str) -> str:
    return ratio(trial.ratio(other, name))


def _shown(name: str, model: CountedModel) -> str:
    value = getattr(model.counts, name)
    return numbers.size(value) if name in BYTES else numbers.count(value)
