"""How counts read: the same words in the terminal, in Markdown and on the page; there is no time among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from dcd_deploy.benchmarks.counts import COMPARED, CountedModel, CountRatios, Counts, CountSection, CountTrial
from dcd_deploy.benchmarks.results import STATIC, BenchResult, Timing
from dcd_deploy.emulation.layers import LayerCounts, added
from dcd_deploy.emulation.setup import EmulationSetup
from dcd_deploy.network_names import labelled, title
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports.json import as_plain
from dcd_deploy.reports.terminal import line, show_table
from dcd_deploy.runtimes.nodes import PARTS

TITLES = (
    "instructions",
    "FMLA",
    "DOT",
    "MMLA",
    "bytes loaded",
    "bytes stored",
    "L1 misses, modelled",
    "L2 misses, modelled",
    "traffic beyond L2, modelled",
)
ROWS = dict(zip(COMPARED, TITLES, strict=True))
BYTES = ("bytes_loaded", "bytes_stored", "traffic_bytes")
HEADING = "Counted on emulated ARM cores"
SUMMARY = "instructions, and times as many as the static twin"
NONE = "–"


def count_title(trial: CountTrial) -> str:
    """Return "cortex-a76, litert 2.3.0, 1 thread, batch 1, per run"."""
    runtime = f"{trial.runtime} {trial.runtime_version}"
    return f"{core_name(trial.device, trial.core)}, {runtime}, 1 thread, batch {trial.batch}, per run"


def core_name(device: str, core: str) -> str:
    """Return the core, after the name that a fleet gives it, if any."""
    return core if device.endswith(f":{core}") else f"{device} ({core})"


def count_columns(trial: CountTrial) -> tuple[str, ...]:
    """Return the columns of ``count_rows``: after an empty one the model, then each other model and the ratio to it."""
    first, *others = trial.models
    return (
        "",
        labelled(first.name, first.network),
        *(t for o in others for t in (labelled(o.name, o.network), "ratio")),
    )


def count_rows(trial: CountTrial) -> list[tuple[str, ...]]:
    """Return a row for each count that is not 0 everywhere."""
    first, *others = trial.models
    return [
        (
            ROWS[name],
            _shown(name, first),
            *(text for other in others for text in (_shown(name, other), ratio(_over(trial, other, name)))),
        )
        for name in counted_names(trial)
    ]


def counted_names(trial: CountTrial) -> list[str]:
    """Return the names of the counts of which there are some."""
    return [name for name in COMPARED if any(getattr(model.counts, name) for model in trial.models)]


def static_ratios(trial: CountTrial) -> CountRatios | None:
    """Return the ratios to the static twin, where the trial has one."""
    return next((trial.ratios[m.name] for m in trial.models if m.role == STATIC and m.name in trial.ratios), None)


def counts_basis(section: CountSection) -> list[str]:
    """Return what the counts rest on: the versions first, then the assumptions of the model."""
    return [f"QEMU {section.qemu}; each count is the median of {section.runs} runs", *section.assumptions]


def ratio(value: float | None) -> str:
    """Return a ratio of counts with three decimals, or a dash where it has no sense."""
    return NONE if value is None else f"{value:.3f}"


def across_cores(section: CountSection) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return columns (the model, how it was run, each core) and a row for each model: instructions, and their ratio."""
    batches = {trial.batch for trial in section.trials}
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for trial in section.trials:
        how = trial.runtime + f", batch {trial.batch}" * (len(batches) > 1)
        cells.setdefault((trial.models[0].name, how), {})[trial.device] = _cell(trial)
    rows = [(*key, *(found.get(device, NONE) for device in section.cores)) for key, found in cells.items()]
    return ("model", "runtime", *(core_name(*named) for named in section.cores.items())), rows


def counts_headline(trials: Sequence[CountTrial]) -> str:
    """Return the counts in one sentence that needs no knowledge of them."""
    subjects = list(dict.fromkeys(network_name(trial.models[0]) for trial in trials))
    one = len(subjects) == 1
    who = f"{subjects[0]} needs" if one else f"The {len(subjects)} models need"
    cores = list(dict.fromkeys(core_name(trial.device, trial.core) for trial in trials))
    where = f"an emulated {cores[0]}" if len(cores) == 1 else f"{len(cores)} emulated cores"
    ratios = [found.instructions for trial in trials if (found := static_ratios(trial)) and found.instructions]
    if not ratios:
        counts = numbers.count(trials[0].models[0].counts.instructions)
        return f"{who} {counts if len(trials) == 1 else 'the'} instructions{' below' * (len(trials) > 1)} on {where}"
    low, high = f"{min(ratios):.2f}", f"{max(ratios):.2f}"
    span = low if low == high else f"{low} to {high}"
    return f"{who} {span} times as many instructions as {'its static twin' if one else 'their static twins'} on {where}"


def network_name(measured: CountedModel | Timing) -> str:
    """Return what the network is called in print, or what reports call the file."""
    return title(measured.network) if measured.network else measured.name


def _cell(trial: CountTrial) -> str:
    found, many = static_ratios(trial), numbers.count(trial.models[0].counts.instructions)
    return many if found is None else f"{many}, {ratio(found.instructions)} ×"


def _over(trial: CountTrial, other: CountedModel, name: str) -> float | None:
    return trial.ratio(other, name) if other.name in trial.ratios else None


def _shown(name: str, model: CountedModel) -> str:
    value = getattr(model.counts, name)
    return numbers.size(value) if name in BYTES else numbers.count(value)


NO_LAYER = "(no layer)"


def show_counts(screen: Console, result: BenchResult) -> None:
    """Print a table for each model and core, what could not be counted, and what the counts rest on.

    Where times stand beside them, several cores begin with a table of all.
    """
    section = result.counts
    if section is None:
        return
    if result.trials and len(section.cores) > 1:
        show_table(screen, SUMMARY, *across_cores(section), left=2)
    for trial in section.trials:
        columns, rows = count_columns(trial), count_rows(trial)
        show_table(screen, count_title(trial), columns, rows)
    for failure in result.failures:
        if failure.device in section.cores:
            line(screen, f"! {failure.name} on {failure.runtime}, {failure.device}: {failure.reason}")
    if section.trials:
        _show_basis(screen, *counts_basis(section))


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
