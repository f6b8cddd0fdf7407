"""A model beside its baseline: open both, measure them in turns, compare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dcd_deploy.benchmarks.environment import Environment, core_count, read_environment
from dcd_deploy.benchmarks.measure import MeasureConfig, Measurement, Run, measure_interleaved
from dcd_deploy.benchmarks.statistics import Latency, Ratio, latency, ratio
from dcd_deploy.errors import OptionError
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.litert import is_channels_last
from dcd_deploy.runtimes.model import Model, open_model

SCHEMA = 1
MODEL, BASELINE = "model", "baseline"
MADE_TWIN = "static twin (made for this run)"


@dataclass(frozen=True)
class BenchResult:
    """One run of the benchmark, raw samples included; latencies go by role, ``MODEL`` or ``BASELINE``."""

    model: str
    baseline: str | None
    runtime: str
    batch: int
    threads: int
    latencies: dict[str, Latency]
    ratio: Ratio | None
    environment: Environment
    config: MeasureConfig
    measurements: tuple[Measurement, ...]
    schema: int = SCHEMA


def bench_models(
    model: Path,
    baseline: Path | None = None,
    *,
    threads: int = 1,
    batch: int | None = None,
    config: MeasureConfig | None = None,
    progress: Progress = silent,
) -> BenchResult:
    """Measure ``model`` beside ``baseline`` with ``threads`` threads; ``batch`` is for files that leave it free.

    Raises:
        OptionError: a count is out of range, the file's batch is another, or the two files take different inputs.
        InputFileError, ModelFileError: a file cannot be opened or run.
    """
    check_threads(threads)
    config = config or MeasureConfig()
    environment = read_environment()
    paths = {MODEL: model} if baseline is None else {MODEL: model, BASELINE: baseline}
    with progress("open models"):
        opened = {role: open_model(path, threads=threads) for role, path in paths.items()}
    shapes = {role: input_shape(opened_model, batch) for role, opened_model in opened.items()}
    if len(set(shapes.values())) != 1:
        raise OptionError(f"expected models with the same input, found {shapes}; export both at one size and batch")
    with progress("measure in turns"):
        measured = measure_interleaved({role: _runner(m, shapes[role]) for role, m in opened.items()}, config)
    return BenchResult(
        model=str(model),
        baseline=None if baseline is None else str(baseline),
        runtime=opened[MODEL].session.runtime,
        batch=shapes[MODEL][0],
        threads=threads,
        latencies={m.name: latency(m) for m in measured},
        ratio=None if baseline is None else ratio(*measured),
        environment=environment,
        config=config,
        measurements=tuple(measured),
    )


def check_threads(threads: int) -> None:
    """Raise OptionError unless there is a core for each thread: more would wait for each other."""
    cores = core_count()
    if not isinstance(threads, int) or not 1 <= threads <= cores:
        raise OptionError(
            f"expected at least one thread and at most one for each of the {cores} cores, found {threads}"
        )


def input_shape(model: Model, batch: int | None) -> tuple[int, ...]:
    """Return the shape (N, 3, H, W) of a model's input, whichever layout its file has; N is ``batch`` where it is free.

    Raises:
        OptionError: ``batch`` is below one or not the file's own, or the file leaves its input size free.
    """
    if batch is not None and (not isinstance(batch, int) or batch < 1):
        raise OptionError(f"expected a --batch of at least one, found {batch!r}")
    shape = model.session.inputs[0].shape
    if is_channels_last(shape):
        shape = (shape[0], shape[3], *shape[1:3])
    if None in shape[1:]:
        raise OptionError(f"expected a model whose input size is fixed, found {shape}; export it with --input-size")
    if batch is not None and shape[0] not in (None, batch):
        raise OptionError(
            f"expected --batch {shape[0]}, which is fixed in the file, found {batch}; export it with --batch dynamic"
        )
    return tuple(batch or 1 if size is None else size for size in shape)


def _runner(model: Model, shape: tuple[int, ...]) -> Run:
    return model.session.prepare(np.random.default_rng(0).standard_normal(shape, np.float32))
