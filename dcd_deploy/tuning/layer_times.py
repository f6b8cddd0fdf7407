"""The lowerings of one shape of layer, measured in turns in a process of their own, or kept from before.

Times are kept in the user's cache, by shape, precision, runtime, device and what measured them.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dcd_deploy import __version__
from dcd_deploy.benchmarks.measure import MeasureConfig, Samples
from dcd_deploy.benchmarks.statistics import CONFIDENCE, Ratio, latency, ratio
from dcd_deploy.benchmarks.worker import TIME, Request, WorkerAnswer
from dcd_deploy.files import write_whole
from dcd_deploy.lowering.targets import Target
from dcd_deploy.progress import Progress, silent
from dcd_deploy.tuning.layer_case import LayerCase, LayerGroup
from dcd_deploy.tuning.layer_model import STATIC, write_layer_model


@dataclass(frozen=True)
class Measured:
    """Where and by what a layer is measured; another answer to any of it is another measurement."""

    device: str
    cpu: str
    runtime: str
    runtime_version: str
    threads: int


def kept(folder: Path, case: LayerCase, target: Target, where: Measured) -> LayerTimes | None:
    """Return the times that ``folder`` keeps of a shape; None where there are none."""
    return _read(folder / f"{_key(case, target, where)}.json")


def kept_or_measured(
    folder: Path,
    case: LayerCase,
    target: Target,
    where: Measured,
    measure: Callable[[], LayerTimes],
    serves: Callable[[LayerTimes], bool],
) -> LayerTimes:
    """Return the times that ``folder`` keeps, if they serve (noise may spoil them), else measure and keep them.

    Raises:
        OutputError: the folder cannot be written.
    """
    path = folder / f"{_key(case, target, where)}.json"
    if (found := _read(path)) is not None and serves(found):
        return found
    times = measure().by_turns()
    content = {
        "version": times.version,
        "samples": {lowering: asdict(found) for lowering, found in times.samples.items()},
    }
    write_whole(path, json.dumps(content).encode())
    return times


def _key(case: LayerCase, target: Target, where: Measured) -> str:
    lowerings = sorted(case.costs(target))
    content = [__version__, asdict(case), target.format, target.precision, lowerings, asdict(where)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _read(path: Path) -> LayerTimes | None:
    """Return what a file keeps; None where there is none, or a damaged one, which is measured anew."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        samples = {str(lowering): _samples(found) for lowering, found in content["samples"].items()}
        return LayerTimes(samples, str(content["version"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _samples(content: dict[str, Any]) -> Samples:
    blocks = tuple(_floats(block) for block in content["blocks_ms"])
    rounds = tuple(int(number) for number in content["rounds"])
    if not blocks or len(blocks) != len(rounds) or not all(blocks):
        raise ValueError("no samples")
    load, first, warmup = (_floats(content[key]) for key in ("load_ms", "first_ms", "warmup_ms"))
    return Samples(load, first, warmup, blocks, rounds)


def _floats(values: list[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


QUICK = MeasureConfig(warmup_seconds=0.05, min_runs=80, min_seconds=1.5, rounds=4)
TIME_LIMIT = 300.0
Ask = Callable[[Request, float], WorkerAnswer]


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
