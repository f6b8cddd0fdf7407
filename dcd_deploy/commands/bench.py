"""Models timed here and on devices, and counted on emulated cores."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dcd_deploy.commands.arguments import (
    Fleet,
    InputSize,
    MinRuns,
    MinSeconds,
    Setup,
    ThreadCounts,
    parse_batches,
    parse_measure,
)
from dcd_deploy.commands.devices import device_targets
from dcd_deploy.commands.export import export
from dcd_deploy.commands.options import DEVICES, MEASURING, Argument, Option, StrPath
from dcd_deploy.commands.values import (
    Counts,
    Size,
    parse_amount,
    parse_counts,
    parse_names,
)
from dcd_deploy.errors import OptionError
from dcd_deploy.progress import Progress, silent

if TYPE_CHECKING:
    from dcd_deploy.benchmarks.cases import ExportModel
    from dcd_deploy.benchmarks.results import BenchResult
    from dcd_deploy.devices.target import DeviceTarget


def bench(
    *models: Annotated[StrPath, Argument("Model files, or checkpoints, which are exported first.")],
    baseline: Annotated[
        str | Path, Option("Model file to time against; 'static' for the static twin; 'none'.")
    ] = "static",
    against: Annotated[
        str | Path | Sequence[str | Path],
        Option("More to time against: 'released' (unfolded), 'static:WIDTH', model files.", several=True),
    ] = (),
    runtime: Annotated[
        str | Sequence[str],
        Option(
            "Runtimes, separated by commas: onnxruntime, onnxruntime-plain, onnxruntime-ort, litert, litert-compiled, "
            "litert-plain, executorch; on this machine also openvino, mnn, ncnn, tract, opencv, opencv4, where "
            "'dcd-deploy runtimes' has set them up.",
            default="the one that the file is for",
        ),
    ] = (),
    threads: ThreadCounts = 1,
    batch: Annotated[Counts | None, Option("Batch sizes, such as 1,4.", default="the file's own")] = None,
    input_size: InputSize = 224,
    out: Annotated[
        StrPath | None, Option("Folder that keeps each trial at once; a run goes on where it ended.")
    ] = None,
    cpus: Annotated[Counts | None, Option("Cores to keep to, such as 0 or 0,1.", MEASURING)] = None,
    min_runs: MinRuns = 200,
    min_seconds: MinSeconds = 10.0,
    rounds: Annotated[int, Option("Open the models so many times.", MEASURING)] = 5,
    time_limit: Annotated[float, Option("Give up on a trial after so many seconds.", MEASURING)] = 600.0,
    memory: Annotated[bool, Option("Measure peak memory too, in runs of their own.", MEASURING)] = True,
    device: Annotated[
        str | Sequence[str],
        Option(
            "Where to measure: local, ssh://[user@]host[:port], adb[:serial]; may be given several times. "
            "On arm64-emulated[:CORE] instructions and bytes are counted; no times.",
            DEVICES,
            several=True,
        ),
    ] = (),
    fleet: Fleet = None,
    setup: Setup = False,
    python: Annotated[str | None, Option("Python to use on the devices.", DEVICES, default="what is found")] = None,
    runner: Annotated[
        StrPath | Sequence[StrPath],
        Option(
            "Program made for the phone: benchmark_model, onnxruntime_perf_test; may be both.", DEVICES, several=True
        ),
    ] = (),
    progress: Progress = silent,
) -> BenchResult:
    """Time models beside their static twins, interleaved, here or on devices.

    Each model is timed beside its baseline and others, each trial in a process of its own.
    ``models`` are model files, or checkpoints, which are exported first. ``baseline`` is a model file; "static" for the
    static twin, which is the file that ``export --with-baseline`` wrote, or is made on the spot; or "none". ``against``
    names more: "released" (the unfolded form), "static:0.75" (a static network of another width), model files.
    ``runtime``, ``threads`` and ``batch`` may be several: each combination is a trial. ``cpus`` are the cores to keep
    to. Measured are at least ``min_runs`` of each model, for at least ``min_seconds`` in all, over ``rounds`` openings.

    ``device`` names where to measure ("local", "ssh://pi@board"), ``fleet`` is a file that names more; all at once,
    and ``progress`` is then called from several threads. With ``setup`` what they miss is installed there first;
    ``python`` is the one to use there. On phones ``runner`` is a program made for them, or several. The folder ``out``
    keeps each trial as soon as it is measured; what is there is not measured again. On "arm64-emulated:CORE" nothing
    is timed: ``counts`` of the result has what a run of one thread makes that core do, and ``time_limit`` is for each
    run there.

    Raises:
        OptionError: a value is out of range, the file's batch is another, two files take different inputs, or an option
            was given that means nothing where no time is taken.
        BenchError: a runtime crashed or hung; ``result`` has the other trials.
        DeviceError: a device cannot be used, or was lost; ``result`` has what was measured.
    """
    from dcd_deploy.benchmarks.bench import BenchConfig, bench
    from dcd_deploy.benchmarks.cases import BenchRequest, cases_for
    from dcd_deploy.benchmarks.process import LOCAL
    from dcd_deploy.devices.fleet import bench_on
    from dcd_deploy.devices.opening import DeviceOptions

    measure = parse_measure(min_runs, min_seconds, rounds)
    request = BenchRequest(
        models=tuple(map(Path, models)),
        baseline=str(baseline),
        against=parse_names(against),
        runtimes=parse_names(runtime),
        threads=parse_counts("threads", threads),
        batches=(None,) if batch is None else parse_batches(batch),
    )
    if not models:
        raise OptionError(expected="a model file or a checkpoint to time", found="none")
    config = BenchConfig(
        measure,
        None if cpus is None else parse_counts("cpus", cpus),
        parse_amount("time_limit", time_limit),
        memory,
    )
    runners = (runner,) if isinstance(runner, str | os.PathLike) else tuple(runner)
    options = DeviceOptions(None, python, setup, tuple(map(Path, runners)))
    targets = device_targets(device, fleet, options) or ([] if out is None else device_targets(LOCAL, None))
    _check_countable(targets, request.threads, setup, cpus is not None, python)
    _check_cores(targets, request.threads, config.cpus)
    _check_runtimes(targets, request.runtimes)
    with tempfile.TemporaryDirectory(prefix="dcd-deploy-") as folder:
        cases, failures = cases_for(request, Path(folder), _exporter(input_size, progress), progress)
        if targets:
            return bench_on(targets, cases, config, progress, failures, None if out is None else Path(out))
        return bench(cases, config, progress, failures)


def _check_countable(targets: Sequence[DeviceTarget], threads: tuple[int, ...], *for_times_only: object) -> None:
    """Raise OptionError where an option was given that means nothing, since no time is taken anywhere."""
    from dcd_deploy.emulation.cores import EMULATED

    counted = bool(targets) and all(target.name.kind == EMULATED for target in targets)
    if counted and (any(for_times_only) or threads != (1,)):
        raise OptionError(
            expected="no `setup`, `cpus`, `python`, and no `threads` but 1, with arm64-emulated alone",
            found="one of them",
            advice="one thread is counted, and nothing is timed",
        )


def _check_cores(targets: Sequence[DeviceTarget], threads: tuple[int, ...], cpus: tuple[int, ...] | None) -> None:
    """Raise OptionError where all is measured on this machine, and it has not these cores."""
    from dcd_deploy.benchmarks.bench import check_cores
    from dcd_deploy.benchmarks.process import LOCAL
    from dcd_deploy.emulation.cores import EMULATED

    if all(target.name.kind in (LOCAL, EMULATED) for target in targets):
        for number in threads:
            check_cores(number, cpus)


def _check_runtimes(targets: Sequence[DeviceTarget], runtimes: Sequence[str]) -> None:
    """Raise OptionError where a runtime that has an environment on this machine alone is to be timed elsewhere."""
    from dcd_deploy.benchmarks.process import LOCAL
    from dcd_deploy.runtimes.choice import RUNTIMES
    from dcd_deploy.runtimes.environments import KNOWN

    others = [name for name in runtimes if name in KNOWN and name not in RUNTIMES]
    elsewhere = [target.name for target in targets if target.name.kind != LOCAL]
    if others and elsewhere:
        raise OptionError(
            expected=f"`device` local with `runtime` {', '.join(others)}",
            found=", ".join(map(str, elsewhere)),
            advice="those runtimes are timed on this machine alone",
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
