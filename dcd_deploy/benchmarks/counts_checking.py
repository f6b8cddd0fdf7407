"""The counts of a result that was read: whether its parts agree with each other, as every report takes for granted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import astuple

from dcd_deploy.benchmarks.counts import CountedModel, CountSection, CountTrial, count_ratios, same_ratios
from dcd_deploy.benchmarks.decoding import MisfitError, Words
from dcd_deploy.benchmarks.results import AGAINST, MODEL, STATIC

MOST = 10**18  # of anything in one run: a year of a fast core is less


def check_counts(section: CountSection, timed: Collection[str], place: str = "/counts") -> None:
    """Raise MisfitError unless the parts of the counts agree; ``timed`` are the devices that gave times."""
    if section.runs < 1:
        raise MisfitError(f"{place}/runs", "at least one run", section.runs)
    if both := set(section.cores) & set(timed):
        raise MisfitError(f"{place}/cores", "no device that gave times", min(both))
    if section.trials and section.qemu is None:
        raise MisfitError(f"{place}/qemu", "the version that counted", None)
    for i, trial in enumerate(section.trials):
        _check_trial(trial, section, f"{place}/trials/{i}")


def check_names(roles: Sequence[str], names: Sequence[str], place: str) -> None:
    """Raise MisfitError unless the models of a trial, of times or of counts, have the roles and names they can have."""
    if list(roles[:1]) != [MODEL] or not set(roles[1:]) <= {STATIC, AGAINST}:
        raise MisfitError(place, f"'{MODEL}' first, then '{STATIC}' or '{AGAINST}'", Words(f"{list(roles)}"[:80]))
    if len(set(names)) != len(names):
        raise MisfitError(place, "a different name for each", Words("one twice"))


def _check_trial(trial: CountTrial, section: CountSection, place: str) -> None:
    if section.cores.get(trial.device) != trial.core:
        raise MisfitError(f"{place}/device", "a device of the counts, with its core", trial.device)
    if trial.batch < 1:
        raise MisfitError(f"{place}/batch", "a batch of one at least", trial.batch)
    check_names([model.role for model in trial.models], [model.name for model in trial.models], f"{place}/models")
    for i, model in enumerate(trial.models):
        _check_model(model, f"{place}/models/{i}")
    others = {model.name: model for model in trial.models[1:]}
    if strangers := set(trial.ratios) - set(others):
        raise MisfitError(f"{place}/ratios", "names of models after the first", min(strangers))
    for name, ratios in trial.ratios.items():
        if not same_ratios(ratios, count_ratios(trial.models[0].counts, others[name].counts)):
            raise MisfitError(f"{place}/ratios/{name[:60]}", "the ratios of the counts", Words("others"))


def _check_model(model: CountedModel, place: str) -> None:
    counts = model.counts
    if min(astuple(counts)) < 0 or counts.instructions < 1 or max(astuple(counts)) > MOST:
        raise MisfitError(f"{place}/counts", f"counts from 0 to {MOST:.0e}, and an instruction", Words("otherwise"))
    if model.traffic_bytes != counts.traffic_bytes:
        raise MisfitError(f"{place}/traffic_bytes", f"{counts.traffic_bytes}, as counted", Words("otherwise"))
    if model.spread < 0:
        raise MisfitError(f"{place}/spread", "at least zero", model.spread)
