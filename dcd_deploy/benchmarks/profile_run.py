"""The profiling run: the model with its runtime's profiler and without, in turns, in one process.

    warm up both, then until all runs are done:    without × BLOCK, with × BLOCK    the first of each block refills the
                                                                                    caches, and is not counted

Of each node the median over the counted runs is kept. A profiler takes time itself, and what a runtime does between
nodes is in none of them; so the sum of the nodes stands beside the latency of the same model without a profiler.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from dcd_deploy.benchmarks.bench import check_cores
from dcd_deploy.benchmarks.environment import read_environment
from dcd_deploy.benchmarks.measure import Run, timed
from dcd_deploy.benchmarks.profile import ProfiledNode, ProfileResult
from dcd_deploy.benchmarks.profile_executorch import ExecuTorchProfile
from dcd_deploy.benchmarks.profile_litert import LiteRtProfile
from dcd_deploy.benchmarks.profile_onnxruntime import OnnxRuntimeProfile
from dcd_deploy.benchmarks.worker import network_name, random_inputs
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.choice import usual_runtime
from dcd_deploy.runtimes.litert_compiled import FLAGS, LiteRtCompiledSession
from dcd_deploy.runtimes.model import Model, open_model
from dcd_deploy.runtimes.nodes import FileNode
from dcd_deploy.runtimes.session import Input

BLOCK, DROPPED, WARMUP = 5, 1, 3


class ProfiledModel(Protocol):
    """A model opened with its runtime's profiler."""

    def run(self, *, counted: bool) -> None:
        """Run the model once under the profiler."""

    def finish(self) -> tuple[ProfiledNode, ...]:
        """Return the nodes in the order in which they ran, with their medians over the counted runs."""

    def close(self) -> None:
        """Free what the profiler holds."""


def profile_model(
    path: Path,
    nodes: Sequence[FileNode],
    threads: int = 1,
    runs: int = 30,
    runtime: str | None = None,
    progress: Progress = silent,
) -> ProfileResult:
    """Profile ``runs`` runs of a model whose file has these ``nodes``, in ``runtime`` or the file's usual one.

    Raises:
        OptionError: there is no core for each thread, or the file leaves its input size free.
        InputFileError, ModelFileError: the file cannot be opened or run.
        MissingDependencyError: the runtime, or a version of it whose profiler can be read, is not installed.
    """
    check_cores(threads, None)
    environment = read_environment()
    runtime = runtime or usual_runtime(path)
    with progress("open the model"):
        model = open_model(path, threads=threads, runtime=runtime)
        inputs = random_inputs(model)
        profile = _open(path, model, nodes, inputs, threads)
    try:
        with progress("profile in turns"):
            model.session.run_all(inputs)  # an input that the model refuses is said here, in words
            times = _in_turns(model.session.prepare(*inputs), profile, runs)
            found = profile.finish()
    finally:
        profile.close()
    return ProfileResult(
        model=str(path),
        network=network_name(model.card),
        runtime=model.session.runtime,
        threads=threads,
        runs=runs,
        nodes=found,
        total_ms=sum(node.median_ms for node in found),
        latency_ms=float(np.median(times)),
        environment=environment,
    )


def _open(path: Path, model: Model, nodes: Sequence[FileNode], inputs: Sequence[Input], threads: int) -> ProfiledModel:
    if model.format == "tflite":
        flags = FLAGS if isinstance(model.session, LiteRtCompiledSession) else None
        return LiteRtProfile(path, nodes, inputs, model.session.inputs, threads, flags)
    if model.format == "pte":
        return ExecuTorchProfile(path, inputs, threads)
    return OnnxRuntimeProfile(path, nodes, inputs, threads)


def _in_turns(run: Run, profile: ProfiledModel, runs: int) -> list[float]:
    """Return the milliseconds of as many runs without the profiler."""
    for _ in range(WARMUP):
        run()
        profile.run(counted=False)
    times: list[float] = []
    for start in range(0, runs, BLOCK):
        count = min(BLOCK, runs - start)
        times += [timed(run) for _ in range(DROPPED + count)][DROPPED:]
        for i in range(DROPPED + count):
            profile.run(counted=i >= DROPPED)
    return times
