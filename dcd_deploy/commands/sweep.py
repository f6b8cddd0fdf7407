"""All published networks, timed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dcd_deploy.commands.arguments import InputSize, MinRuns, MinSeconds, ThreadCounts, parse_measure
from dcd_deploy.commands.options import Option, StrPath
from dcd_deploy.commands.values import parse_counts, parse_names, parse_size
from dcd_deploy.optional import require
from dcd_deploy.progress import Progress, silent

if TYPE_CHECKING:
    from dcd_deploy.benchmarks.results import BenchResult


def sweep(
    out: Annotated[StrPath, Option("Folder that keeps models and results; a sweep goes on where it ended.")],
    *,
    networks: Annotated[
        str | Sequence[str],
        Option("Networks, separated by commas, such as mobilenetv2_dcd_x0.5.", default="all"),
    ] = (),
    runtime: Annotated[str | Sequence[str], Option("Runtimes, separated by commas.")] = "onnxruntime,litert",
    threads: ThreadCounts = 1,
    min_runs: MinRuns = 200,
    min_seconds: MinSeconds = 10.0,
    input_size: InputSize = 224,
    progress: Progress = silent,
) -> BenchResult:
    """Time all published networks beside their static twins, and against each other.

    What is exported and measured is kept in the folder ``out``, and not done again when the sweep is resumed.

    Raises:
        BenchError: a trial could not be measured; ``result`` has the others.
    """
    require("torch")
    from dcd_deploy.benchmarks.bench import BenchConfig
    from dcd_deploy.benchmarks.sweep import SweepConfig, run_sweep

    config = SweepConfig(
        out=Path(out),
        networks=parse_names(networks),
        runtimes=parse_names(runtime),
        threads=parse_counts("threads", threads),
        size=parse_size(input_size),
        bench=BenchConfig(parse_measure(min_runs, min_seconds)),
    )
    return run_sweep(config, progress)
