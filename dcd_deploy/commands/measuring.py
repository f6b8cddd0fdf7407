"""Models timed here and on devices, and counted on emulated cores; results compared."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dcd_deploy.commands.arguments import MOST_ROUNDS, MOST_RUNS, StrPath, parse_batches
from dcd_deploy.commands.exporting import export
from dcd_deploy.errors import OptionError
from dcd_deploy.optional import require
from dcd_deploy.progress import Progress, silent
from dcd_deploy.values import (
    Counts,
    Size,
    parse_count,
    parse_counts,
    parse_names,
    parse_seconds,
    parse_size,
)

if TYPE_CHECKING:
    from dcd_deploy.benchmarks.comparing import ResultComparison
    from dcd_deploy.benchmarks.results import BenchResult
    from dcd_deploy.contests import ExportModel
    from dcd_deploy.devices.opening import DeviceOptions
    from dcd_deploy.devices.target import Target


def bench(
    *models: StrPath,
    baseline: StrPath = "static",
    against: str | Sequence[str] = (),
    runtime: str | Sequence[str] = (),
    threads: Counts = 1,
    batch: Counts | None = None,
    cpus: Counts | None = None,
    min_runs: int = 200,
    min_seconds: float = 10.0,
    rounds: int = 5,
    time_limit: float = 600.0,
    memory: bool = True,
    input_size: Size = 224,
    device: str | Sequence[str] = (),
    fleet: StrPath | None = None,
    out: StrPath | None = None,
    setup: bool = False,
    python: str | None = None,
    runner: StrPath | Sequence[StrPath] = (),
    portable: bool = False,
    progress: Progress = silent,
) -> BenchResult:
    """Time models, each beside its baseline and others, in turns, each trial in a process of its own.

    ``models`` are model files, or checkpoints, which are exported first. ``baseline`` is a model file; "static" for the
    static twin, which is the file that ``export --with-baseline`` wrote, or is made on the spot; or "none". ``against``
    names more: "released" (the unfolded form), "static:0.75" (a static network of another width), model files.
    ``runtime``, ``threads`` and ``batch`` may be several: each combination is a trial. ``cpus`` are the cores to keep
    to. Measured are at least ``min_runs`` of each model, for at least ``min_seconds`` in all, over ``rounds`` openings.

    ``device`` names where to measure ("local", "ssh://pi@board"), ``fleet`` is a file that names more; all at once,
    and ``progress`` is then called from several threads. With ``setup`` what they miss is installed there first;
    ``python`` is the one to use there. On phones ``runner`` is a program made for them, or several, ``portable`` takes
    an experimental bundle along. The folder ``out`` keeps each trial as soon as it is measured; what is there is not
    measured again. On "arm64-emulated:CORE" nothing is timed: ``counts`` of the result has what a run of one thread
    makes that core do, and ``time_limit`` is for each run there.

    Raises:
        OptionError: a value is out of range, the file's batch is another, two files take different inputs, or an option
            was given that means nothing where no time is taken.
        BenchError: a runtime crashed or hung; ``result`` has the other trials.
        DeviceError: a device cannot be used, or was lost; ``result`` has what was measured.
    """
    from dcd_deploy.benchmarks.bench import BenchConfig, bench, check_cores
    from dcd_deploy.benchmarks.measure import MeasureConfig
    from dcd_deploy.benchmarks.place import LOCAL
    from dcd_deploy.contests import Wanted, contests_for
    from dcd_deploy.devices.fleet import bench_on
    from dcd_deploy.devices.names import EMULATED
    from dcd_deploy.devices.opening import DeviceOptions

    measure = MeasureConfig(
        min_runs=parse_count("--min-runs", min_runs, MOST_RUNS),
        min_seconds=parse_seconds("--min-seconds", min_seconds),
        rounds=parse_count("--rounds", rounds, MOST_ROUNDS),
    )
    wanted = Wanted(
        models=tuple(map(Path, models)),
        baseline=str(baseline),
        against=parse_names(against),
        runtimes=parse_names(runtime),
        threads=parse_counts("--threads", threads),
        batches=(None,) if batch is None else parse_batches(batch),
    )
    if not models:
        raise OptionError("expected a model file or a checkpoint to time, found none")
    config = BenchConfig(
        measure,
        None if cpus is None else parse_counts("--cpus", cpus),
        parse_seconds("--time-limit", time_limit),
        memory,
    )
    runners = (runner,) if isinstance(runner, str | os.PathLike) else tuple(runner)
    options = DeviceOptions(None, python, setup, tuple(map(Path, runners)), portable)
    targets = device_targets(device, fleet, options) or ([] if out is None else device_targets(LOCAL, None))
    if targets and all(target.name.kind == EMULATED for target in targets):
        _check_countable(wanted.threads, setup, cpus is not None, python)
    if all(target.name.kind in (LOCAL, EMULATED) for target in targets):
        for number in wanted.threads:
            check_cores(number, config.cpus)
    with tempfile.TemporaryDirectory(prefix="dcd-deploy-") as folder:
        contests, failures = contests_for(wanted, Path(folder), _exporter(input_size, progress), progress)
        if targets:
            return bench_on(targets, contests, config, progress, failures, None if out is None else Path(out))
        return bench(contests, config, progress, failures)


def _check_countable(threads: tuple[int, ...], *for_times_only: object) -> None:
    """Raise OptionError where an option was given that means nothing, since no time is taken anywhere."""
    if any(for_times_only) or threads != (1,):
        raise OptionError(
            "expected no --setup, --cpus, --python, and no --threads but 1, with arm64-emulated alone: one thread is "
            "counted, and nothing is timed"
        )


def _exporter(input_size: Size, progress: Progress) -> ExportModel:
    """Return what makes a model file of a checkpoint that is to be measured."""

    def exported(checkpoint: Path, suffix: str, batch: int | None, folder: Path) -> Path:
        made = export(
            checkpoint,
            to=suffix.removeprefix("."),
            batch=batch or 1,
            input_size=input_size,
            out=folder,
            with_baseline=True,
            progress=progress,
        )
        return made.artifact.path

    return exported


def compare(before: StrPath, after: StrPath, *, different_environments: bool = False) -> ResultComparison:
    """Compare two results that ``bench --save FILE.json`` wrote.

    Raises:
        IncomparableError: they come from machines, versions or settings that differ, or have no trial in common.
    """
    from dcd_deploy.benchmarks.comparing import compare_results
    from dcd_deploy.benchmarks.results_file import read_result

    return compare_results(read_result(Path(before)), read_result(Path(after)), different=different_environments)


def sweep(
    out: StrPath,
    *,
    networks: str | Sequence[str] = (),
    runtime: str | Sequence[str] = ("onnxruntime", "litert"),
    threads: Counts = 1,
    min_runs: int = 200,
    min_seconds: float = 10.0,
    input_size: Size = 224,
    progress: Progress = silent,
) -> BenchResult:
    """Time all published networks (or ``networks``) beside their static twins, and all against each other.

    What is exported and measured is kept in the folder ``out``, and not done again when the sweep is resumed.

    Raises:
        BenchError: a trial could not be measured; ``result`` has the others.
    """
    require("torch")
    from dcd_deploy.benchmarks.bench import BenchConfig
    from dcd_deploy.benchmarks.measure import MeasureConfig
    from dcd_deploy.sweep import SweepConfig, run_sweep

    measure = MeasureConfig(
        min_runs=parse_count("--min-runs", min_runs, MOST_RUNS),
        min_seconds=parse_seconds("--min-seconds", min_seconds),
    )
    config = SweepConfig(
        out=Path(out),
        networks=parse_names(networks),
        runtimes=parse_names(runtime),
        threads=parse_counts("--threads", threads),
        size=parse_size(input_size),
        bench=BenchConfig(measure),
    )
    return run_sweep(config, progress)


def device_targets(
    device: str | Sequence[str], fleet: StrPath | None, options: DeviceOptions | None = None
) -> list[Target]:
    """Return the devices named one by one and in a file."""
    from dcd_deploy.devices.target import check_labels, named_targets, read_fleet

    found = named_targets([device] if isinstance(device, str) else device, options)
    found += [] if fleet is None else read_fleet(Path(fleet))
    check_labels(found)
    return found
