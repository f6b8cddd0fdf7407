"""Tune a network for a device: measure each shape of layer in each lowering there, and choose.

    shapes of the network's layers → for each: lowerings and static layer measured in turns (or kept from before)
    → the lowering that is surely the quickest, else the target's rule → a lowering file

Of the lowerings whose interval over the rule's lies below 1, by a margin, it is the one with the smallest ratio. Where
there is none the rule's stays, "undecided" where the intervals are so wide that they could hide a gain worth having.
Many lowerings of many shapes are compared, so that by chance alone some would look quicker: the intervals hold for all
lowerings of a shape at once (Bonferroni), and a gain within the margin, which is what opening a model moves its time
by, is none.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.benchmarks.process import Host
from dcd_deploy.benchmarks.statistics import CONFIDENCE, Ratio
from dcd_deploy.benchmarks.worker import Request, WorkerAnswer
from dcd_deploy.lowering.targets import Target
from dcd_deploy.made_once import cache_folder
from dcd_deploy.progress import Progress
from dcd_deploy.tuning.forecast import CapturedNetwork
from dcd_deploy.tuning.layer_case import LayerCase, LayerGroup
from dcd_deploy.tuning.layer_times import (
    QUICK,
    LayerTimes,
    Measured,
    kept,
    kept_or_measured,
    time_lowerings,
)
from dcd_deploy.tuning.lowering_file import TunedLowering
from dcd_deploy.tuning.runtimes import installed_version, processor, runtime_of

MARGIN = 0.02  # of the layer's time
NOISY = 0.10  # of an interval's width: what could hide a gain worth having
RULE, QUICKER, UNDECIDED, UNMEASURED = ("rule", "quicker", "undecided", "unmeasured")


@dataclass(frozen=True)
class LayerChoice:
    """The lowering that one shape of layer gets.

    ``reason`` is RULE: none is surely quicker than the rule's; QUICKER: this one is; UNDECIDED: the machine was too
    noisy to tell, and the rule's stands; UNMEASURED: time was up, and the rule's stands. ``ratios`` are the lowerings'
    times over that of ``rule``.
    """

    lowering: str
    rule: str
    reason: str
    ratios: Mapping[str, Ratio]

    @property
    def gain(self) -> float:
        """The share of the layer's time that the choice saves over the rule's lowering."""
        return 1.0 - self.ratios[self.lowering].median if self.lowering != self.rule else 0.0


def choose(times: LayerTimes, rule: str) -> LayerChoice:
    """Return the lowering to take, where the target's rule would take ``rule``."""
    others = [lowering for lowering in times.lowerings if lowering != rule]
    confidence = 1.0 - (1.0 - CONFIDENCE) / max(len(others), 1)
    ratios = {lowering: times.over(lowering, rule, confidence) for lowering in others}
    surely = [lowering for lowering, found in ratios.items() if found.high < 1.0 - MARGIN]
    if surely:
        return LayerChoice(min(surely, key=lambda lowering: ratios[lowering].median), rule, QUICKER, ratios)
    unsure = any(found.low < 1.0 - NOISY and found.high - found.low > NOISY for found in ratios.values())
    return LayerChoice(rule, rule, UNDECIDED if unsure else RULE, ratios)


def unmeasured(rule: str) -> LayerChoice:
    """Return the rule's lowering, for want of a measurement."""
    return LayerChoice(rule, rule, UNMEASURED, {})


def decided(choice: LayerChoice) -> bool:
    """Whether the measurement could tell, so that it need not be repeated."""
    return choice.reason != UNDECIDED


@dataclass(frozen=True)
class TuneConfig:
    """What to tune for; ``cache`` keeps what was measured. After ``max_seconds`` nothing more is begun."""

    target: Target
    threads: int = 1
    measure: MeasureConfig = QUICK
    cache: Path = field(default_factory=partial(cache_folder, "tune"))
    max_seconds: float = math.inf


@dataclass(frozen=True)
class TunedShape:
    """One shape of layer: its layers, how long the static layer and each lowering took there, and the choice."""

    case: LayerCase
    layers: tuple[str, ...]
    median_us: dict[str, float]
    choice: LayerChoice


@dataclass(frozen=True)
class TuneResult:
    """The lowering, and what it rests on."""

    lowering: TunedLowering
    shapes: tuple[TunedShape, ...]
    threads: int
    environment: Environment

    @property
    def undecided(self) -> int:
        """How many shapes the machine was too noisy for."""
        return sum(shape.choice.reason == UNDECIDED for shape in self.shapes)

    @property
    def unmeasured(self) -> int:
        """How many shapes there was no time for."""
        return sum(shape.choice.reason == UNMEASURED for shape in self.shapes)


def tune(subject: CapturedNetwork, config: TuneConfig, place: Host, progress: Progress) -> TuneResult:
    """Measure every shape of the network's dynamic convolutions at ``place`` and choose.

    Raises:
        MissingDependencyError: the target's runtime is not there.
        DcdDeployError: a layer could not be made or measured; what was measured before is kept.
    """
    environment = place.environment()
    runtime = runtime_of(config.target, environment)
    version = installed_version(runtime, environment, place.name)
    where = Measured(place.name, processor(environment), runtime, version, config.threads)
    shapes, end = [], time.monotonic() + config.max_seconds
    for number, group in enumerate(groups := subject.groups, 1):
        stage = f"[{number}/{len(groups)}] {group.case.title}"
        measure = _measurer(group, config, runtime, place, _prefixed(progress, stage))
        late = time.monotonic() >= end
        shapes.append(_kept_shape(group, config, where) if late else _shape(group, config, where, measure))
    return TuneResult(_lowering(subject, config, where, shapes), tuple(shapes), config.threads, environment)


def _shape(group: LayerGroup, config: TuneConfig, where: Measured, measure: Callable[[], LayerTimes]) -> TunedShape:
    decide = partial(choose, rule=group.case.rule(config.target))

    def serves(times: LayerTimes) -> bool:
        return decided(decide(times))  # what noise has spoilt is measured anew

    times = kept_or_measured(config.cache, group.case, config.target, where, measure, serves)
    return _tuned(group, times, decide(times))


def _kept_shape(group: LayerGroup, config: TuneConfig, where: Measured) -> TunedShape:
    """Return what an earlier run measured of a shape, or without that the rule's lowering."""
    rule = group.case.rule(config.target)
    times = kept(config.cache, group.case, config.target, where)
    if times is None:
        return TunedShape(group.case, group.layers, {}, unmeasured(rule))
    return _tuned(group, times, choose(times, rule))


def _tuned(group: LayerGroup, times: LayerTimes, choice: LayerChoice) -> TunedShape:
    medians = {lowering: times.median_ms(lowering) * 1e3 for lowering in times.samples}
    return TunedShape(group.case, group.layers, medians, choice)


def _measurer(
    group: LayerGroup, config: TuneConfig, runtime: str, place: Host, progress: Progress
) -> Callable[[], LayerTimes]:
    def ask(request: Request, time_limit: float) -> WorkerAnswer:
        place.prepare([Path(path) for path in request.models.values()], runtime, progress)
        with progress("measure in turns"):
            return place.ask(request, time_limit)

    def measure() -> LayerTimes:
        return time_lowerings(group, config.target, runtime, ask, config.measure, config.threads, progress)

    return measure


def _prefixed(progress: Progress, prefix: str) -> Progress:
    def stage(text: str) -> AbstractContextManager[None]:
        return progress(f"{prefix}: {text}")

    return stage


def _lowering(subject: CapturedNetwork, config: TuneConfig, where: Measured, shapes: list[TunedShape]) -> TunedLowering:
    """Return what was chosen, by layer; one that is called at several sizes gets what its largest map does best in."""
    by_size = sorted(shapes, key=lambda shape: shape.case.size.outputs)
    return TunedLowering(
        target=config.target.name,
        format=config.target.format,
        precision=config.target.precision,
        network=subject.title,
        inputs=subject.inputs,
        runtime=where.runtime,
        runtime_version=where.runtime_version,
        device=where.device,
        cpu=where.cpu,
        threads=where.threads,
        layers={name: shape.choice.lowering for shape in by_size for name in shape.layers},
    )
