"""The counts of two results compared: the same model on the same core, before and after a change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dcd_deploy.benchmarks.counts import CountedModel, CountRatios, CountSection, CountTrial, count_ratios
from dcd_deploy.network_names import both_labelled

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
    others = {_key(*entry): entry[1] for entry in _models(after)}
    for trial, old in _models(before):
        new = others.get(_key(trial, old))
        if new is not None:
            yield _change(trial, old, new)


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


def _key(trial: CountTrial, model: CountedModel) -> tuple[object, ...]:
    return trial.device, trial.core, trial.models[0].name, model.name, trial.runtime, trial.batch


def _change(trial: CountTrial, old: CountedModel, new: CountedModel) -> CountChange:
    name = both_labelled(old.name, old.network, new.network)
    place = (trial.device, trial.core, name, old.role, trial.runtime, trial.batch)
    instructions = (old.counts.instructions, new.counts.instructions)
    traffic = (old.traffic_bytes, new.traffic_bytes)
    return CountChange(*place, *instructions, *traffic, count_ratios(new.counts, old.counts))
