"""Two results compared, before and after a change.

Times are those of the same trials on the same machine, counts those of the same model on the same core.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from dcd_deploy.benchmarks.counts import CountedModel, CountRatios, CountSection, CountTrial, count_ratios
from dcd_deploy.benchmarks.process import LOCAL
from dcd_deploy.benchmarks.results import BenchResult, Timing, Trial
from dcd_deploy.benchmarks.statistics import CONFIDENCE, RESAMPLES, SEED, Numbers, Ratio
from dcd_deploy.errors import IncomparableError
from dcd_deploy.network_names import both_labelled

ENVIRONMENT = ("cpu", "features", "cores", "system", "python", "packages", "governor")
CONFIG = ("runs", "dropped")


@dataclass(frozen=True)
class Change:
    """One model of one trial in both results.

    ``change`` is the median after over the median before. Unlike the ratios to a baseline, which were measured in
    turns, it has whatever the machine did between the two in it; so both ratios to the first baseline stand beside it.
    """

    device: str
    name: str
    role: str
    runtime: str
    threads: int
    batch: int
    before_ms: float
    after_ms: float
    change: Ratio
    ratio_before: Ratio | None
    ratio_after: Ratio | None


@dataclass(frozen=True)
class ResultComparison:
    """All that two results have in common; ``differences`` are those of the environments, where they were allowed.

    ``remark`` says where counts are in one of the two alone, which are then compared by their times.
    """

    changes: tuple[Change, ...]
    differences: tuple[str, ...]
    counts: tuple[CountChange, ...] = ()
    remark: str | None = None


def compare_results(before: BenchResult, after: BenchResult, *, different: bool = False) -> ResultComparison:
    """Compare trial by trial; ``different`` allows environments that differ.

    Raises:
        IncomparableError: the environments differ, or no trial is in both.
    """
    found = (*differences(before, after), *count_differences(before.counts, after.counts))
    if found and not different:
        raise IncomparableError(
            expected="two results of one machine",
            found=f"different {'; '.join(found)}",
            advice="measure both anew in one place, or compare them nevertheless with `different_environments`",
        )
    others = {_key(trial, timing): (trial, timing) for trial, timing in _timings(after)}
    pairs = [(*entry, *others[_key(*entry)]) for entry in _timings(before) if _key(*entry) in others]
    counts = tuple(count_changes(before.counts, after.counts))
    if not pairs and not counts:
        raise IncomparableError(
            expected="results with a trial in common (device, model, runtime, threads, batch and cores)", found="none"
        )
    return ResultComparison(tuple(_change(*pair) for pair in pairs), found, counts, _remark(before, after))


def _remark(before: BenchResult, after: BenchResult) -> str | None:
    counted = [result.counts is not None and bool(result.counts.trials) for result in (before, after)]
    if counted[0] == counted[1]:
        return None
    return f"counts are in the {'first' if counted[0] else 'second'} result alone: times are compared, counts are not"


def differences(before: BenchResult, after: BenchResult) -> Iterator[str]:
    """Yield each setting of machine, versions and measurement that differs, with both values."""
    for device in before.environments:
        if device in after.environments:
            pair = (before.environments[device], after.environments[device])
            yield from _unequal(pair, ENVIRONMENT, "" if device == LOCAL else f" of {device}")
    yield from _unequal((before.config, after.config), CONFIG)


def _unequal(pair: tuple[object, object], names: Iterable[str], of: str = "") -> Iterator[str]:
    for name in names:
        one, other = (getattr(side, name) for side in pair)
        if one != other:
            yield f"{name}{of} ({one} and {other})"


def _timings(result: BenchResult) -> Iterator[tuple[Trial, Timing]]:
    return ((trial, timing) for trial in result.trials for timing in trial.timings)


def _key(trial: Trial, timing: Timing) -> tuple[object, ...]:
    return trial.device, trial.timings[0].name, timing.name, trial.runtime, trial.threads, trial.batch, trial.cpus


def _change(trial: Trial, old: Timing, after: Trial, new: Timing) -> Change:
    blocks = [np.array([np.median(block) for block in timing.samples.blocks_ms]) for timing in (old, new)]
    name = both_labelled(old.name, old.network, new.network)
    place = (trial.device, name, old.role, trial.runtime, trial.threads, trial.batch)
    ratios = (_first_ratio(trial, old), _first_ratio(after, new))
    return Change(*place, old.latency.median_ms, new.latency.median_ms, _unpaired(*blocks), *ratios)


def _first_ratio(trial: Trial, timing: Timing) -> Ratio | None:
    return next(iter(trial.ratios.values()), None) if timing is trial.timings[0] else None


def _unpaired(before: Numbers, after: Numbers) -> Ratio:
    """Return median over median with its bootstrap interval, each side resampled by itself."""
    random = np.random.default_rng(SEED)
    drawn = [np.median(side[random.integers(0, len(side), (RESAMPLES, len(side)))], axis=1) for side in (before, after)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn[1] / drawn[0], [tail, 1 - tail])
    median = float(np.median(after) / np.median(before))
    return Ratio(median, float(low), float(high), CONFIDENCE, min(len(before), len(after)))


Entry = tuple[CountTrial, CountedModel]


@dataclass(frozen=True)
class CountChange:
    """One model of one trial of counts in both results; ``change`` has each count after over the one before."""

    device: str
    core: str
    name: str
    role: str
    runtime: str
    batch: int
    before_instructions: int
    after_instructions: int
    before_traffic_bytes: int
    after_traffic_bytes: int
    change: CountRatios


def count_changes(before: CountSection | None, after: CountSection | None) -> Iterator[CountChange]:
    """Yield what both have counted."""
    if before is None or after is None:
        return
    others = {_counts_key(*entry): entry[1] for entry in _models(after)}
    for trial, old in _models(before):
        new = others.get(_counts_key(trial, old))
        if new is not None:
            yield _counts_change(trial, old, new)


def count_differences(before: CountSection | None, after: CountSection | None) -> Iterator[str]:
    """Yield each setting of the counting that differs, with both values."""
    if before is None or after is None or not before.trials or not after.trials:
        return
    pairs = {"QEMU": (before.qemu, after.qemu)}
    runtimes = [{trial.runtime: trial.runtime_version for trial in section.trials} for section in (before, after)]
    pairs |= {name: (version, runtimes[1].get(name, version)) for name, version in runtimes[0].items()}
    if set(before.cores.values()) == set(after.cores.values()):
        pairs["assumptions"] = ("; ".join(before.assumptions), "; ".join(after.assumptions))
    yield from (f"{name} of the counts ({one} and {other})" for name, (one, other) in pairs.items() if one != other)


def _models(section: CountSection) -> Iterator[Entry]:
    return ((trial, model) for trial in section.trials for model in trial.models)


def _counts_key(trial: CountTrial, model: CountedModel) -> tuple[object, ...]:
    return trial.device, trial.core, trial.models[0].name, model.name, trial.runtime, trial.batch


def _counts_change(trial: CountTrial, old: CountedModel, new: CountedModel) -> CountChange:
    name = both_labelled(old.name, old.network, new.network)
    place = (trial.device, trial.core, name, old.role, trial.runtime, trial.batch)
    instructions = (old.counts.instructions, new.counts.instructions)
    traffic = (old.traffic_bytes, new.traffic_bytes)
    return CountChange(*place, *instructions, *traffic, count_ratios(new.counts, old.counts))
