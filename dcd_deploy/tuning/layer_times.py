"""The lowerings of one shape of layer, measured in turns, in a process of their own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dcd_deploy.benchmarks.measure import MeasureConfig, Samples
from dcd_deploy.benchmarks.statistics import CONFIDENCE, Ratio, latency, ratio
from dcd_deploy.benchmarks.worker import TIME, Answer, Request
from dcd_deploy.lowering.target import Target
from dcd_deploy.progress import Progress, silent
from dcd_deploy.tuning.layer_case import LayerGroup
from dcd_deploy.tuning.layer_model import STATIC, write_layer_model

QUICK = MeasureConfig(warmup_seconds=0.05, min_runs=80, min_seconds=1.5, rounds=4)
TIME_LIMIT = 300.0
Ask = Callable[[Request, float], Answer]


@dataclass(frozen=True)
class LayerTimes:
    """Samples by lowering, and of the static layer (STATIC), all from the same turns."""

    samples: Mapping[str, Samples]
    version: str

    @property
    def lowerings(self) -> tuple[str, ...]:
        """The lowerings that were measured."""
        return tuple(name for name in self.samples if name != STATIC)

    def over(self, lowering: str, other: str = STATIC, confidence: float = CONFIDENCE) -> Ratio:
        """Return the time of one lowering over another's, or the static layer's, with its interval."""
        return ratio(self.samples[lowering], self.samples[other], confidence)

    def by_turns(self) -> LayerTimes:
        """Return the median of each turn in place of its runs: all that ratios use, and little enough to keep."""
        return LayerTimes({lowering: _medians(found) for lowering, found in self.samples.items()}, self.version)

    def median_ms(self, lowering: str) -> float:
        """Return the median of all runs."""
        return latency(self.samples[lowering]).median_ms

    def extra_us(self, lowering: str) -> float:
        """Return how much longer a lowering takes than the static layer: the median over the turns, in microseconds."""
        ours, static = (
            np.array([np.median(block) for block in self.samples[name].blocks_ms]) for name in (lowering, STATIC)
        )
        return float(np.median(ours - static)) * 1e3


def _medians(samples: Samples) -> Samples:
    blocks = tuple((float(f"{np.median(block):.6g}"),) for block in samples.blocks_ms)
    return Samples(samples.load_ms, samples.first_ms, (), blocks, samples.rounds)


def time_lowerings(
    group: LayerGroup,
    target: Target,
    runtime: str,
    ask: Ask,
    config: MeasureConfig = QUICK,
    threads: int = 1,
    progress: Progress = silent,
) -> LayerTimes:
    """Measure every lowering that suits the group's layer, and the static layer.

    Raises:
        DcdDeployError: the converter refused one, or the process that measures failed.
    """
    lowerings = [*group.case.costs(target), STATIC]
    with tempfile.TemporaryDirectory(prefix="dcd-deploy-") as folder:
        models = {lowering: str(Path(folder) / f"{lowering}.{target.format}") for lowering in lowerings}
        with progress("make the lowerings"):
            for lowering, path in models.items():
                write_layer_model(group, lowering, target, Path(path))
        answer = ask(Request(TIME, models, runtime, threads, None, None, config), TIME_LIMIT)
    return LayerTimes(answer.samples, answer.version)
