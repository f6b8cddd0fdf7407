"""The commands as Python functions, under the same words as on the command line.

    from dcd_deploy import commands

    result = commands.export("model_best.pth.tar", out="deploy", with_baseline=True)
    commands.verify(result.artifact.path, checkpoint="model_best.pth.tar")
    commands.bench(result.artifact.path)

They take what the command line takes, as texts or as Python has it: ``batch="dynamic"``, ``input_size="192x256"`` or
(192, 256), ``mean="0.5,0.5,0.5"`` or [0.5, 0.5, 0.5].

Each imports what it needs when it is called: ``predict``, ``bench`` and ``verify`` without a checkpoint need numpy
and the runtime alone.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dcd_deploy.artifacts import FLOAT32_TOLERANCE, LARGEST_SIZE, Preprocessing
from dcd_deploy.errors import InputFileError, OptionError, UnknownNameError
from dcd_deploy.files import check_no_folder, check_writable, existing_file
from dcd_deploy.optional import check_installed, require
from dcd_deploy.progress import Progress, silent
from dcd_deploy.values import (
    Batch,
    Channels,
    Counts,
    Size,
    parse_batch,
    parse_count,
    parse_counts,
    parse_names,
    parse_seconds,
    parse_size,
    parse_tolerance,
    parse_triple,
)

if TYPE_CHECKING:
    from dcd_deploy.benchmarks.comparing import ResultComparison
    from dcd_deploy.benchmarks.profile import ProfileResult
    from dcd_deploy.benchmarks.results import BenchResult
    from dcd_deploy.contests import ExportModel
    from dcd_deploy.devices.emulated.cores import Core
    from dcd_deploy.devices.emulated.counting import CountResult
    from dcd_deploy.devices.emulated.layers import LayerCounts
    from dcd_deploy.devices.emulated.setup import EmulationSetup
    from dcd_deploy.devices.listing import DeviceList
    from dcd_deploy.devices.opening import DeviceOptions
    from dcd_deploy.devices.target import Target
    from dcd_deploy.export.onnx_file import OnnxFileSummary
    from dcd_deploy.export.pipeline import ExportResult
    from dcd_deploy.export.tflite_summary import TfliteFileSummary
    from dcd_deploy.export.verify import VerificationReport
    from dcd_deploy.models.inspection import CheckpointSummary
    from dcd_deploy.runtimes import Model, Prediction, SelfCheck
    from dcd_deploy.runtimes.nodes import FileNode
    from dcd_deploy.tuning.forecast import Forecast
    from dcd_deploy.tuning.lowering_file import TunedLowering
    from dcd_deploy.tuning.tune import TuneResult

StrPath = str | os.PathLike[str]

MOST_THREADS = 1024
MOST_RUNS, MOST_ROUNDS, MOST_COUNTED = 1_000_000, 100, 100
FORMATS = {
    "onnx": ("torch", "onnx", "onnxscript", "onnxsim"),
    "tflite": ("torch", "litert_torch", "ai_edge_litert.interpreter"),
}  # and the packages that each needs


PROFILE_TABLES = ("layer", "operator", "type")


def export(
    checkpoint: StrPath,
    *,
    arch: str | None = None,
    width_mult: float | None = None,
    fc_squeeze: int | None = None,
    num_classes: int | None = None,
    dropout: float | None = None,
    ema: bool = False,
    to: str | Sequence[str] = "onnx",
    out: StrPath = ".",
    name: str | None = None,
    input_size: Size = 224,
    batch: Batch = 1,
    target: str = "portable",
    lowering: str | StrPath = "auto",
    foreign_lowering: bool = False,
    opset: int = 18,
    layout: str = "nhwc",
    labels: StrPath | Sequence[str] | None = None,
    mean: Channels = None,
    std: Channels = None,
    resize: int | None = None,
    with_baseline: bool = False,
    tolerance: float | None = None,
    samples: StrPath | None = None,
    progress: Progress = silent,
) -> ExportResult:
    """Turn a trained checkpoint into verified model files ``out``/``name``.onnx or .tflite, each with a JSON sidecar.

    ``to`` is "onnx", "tflite" or both ("onnx,tflite"); ``opset`` counts for the first, ``layout`` of the input, "nhwc"
    or "nchw", for the second.
    ``target`` names what the order of computation is chosen for (``models.deploy.targets``); ``lowering`` is "auto",
    the form of all layers, or a file that ``tune`` wrote; ``foreign_lowering`` says that it may be from another machine
    or version of the runtime.
    ``input_size`` is a side or (height, width); ``batch`` a number, or "dynamic" (or None) for any; ``labels`` a file
    with one per line, or the labels themselves; ``mean`` and ``std`` are of RGB values 0..1; ``samples`` a .npy file of
    normalised pictures to verify on. The architecture and its settings follow from the tensors where they are not
    given.

    Raises:
        DcdDeployError: with the exit code of its kind (see ``dcd_deploy.errors``); no file is left then.
    """
    formats = _formats(to)
    from dcd_deploy.export.build import BuildConfig
    from dcd_deploy.export.formats import check_config
    from dcd_deploy.export.pipeline import ExportConfig, export_checkpoint
    from dcd_deploy.models.checkpoint import read_checkpoint
    from dcd_deploy.models.fit import fit
    from dcd_deploy.models.infer import SpecOverrides

    preprocessing = _preprocessing(input_size, mean, std, resize)
    tuned = _tuned(lowering, foreign=foreign_lowering)
    build = BuildConfig(
        preprocessing=preprocessing,
        batch=parse_batch(batch),
        lowering="auto" if tuned else str(lowering),
        target=tuned.target if tuned else target,
        opset=opset,
        layout=layout,
        tolerance=FLOAT32_TOLERANCE if tolerance is None else parse_tolerance(tolerance),
        samples=None if samples is None else Path(samples),
    )
    check_config(build, formats)
    overrides = SpecOverrides(arch, width_mult, fc_squeeze, num_classes, dropout)
    texts, name = _labels(labels), name if name is None else _checked_name(name)
    with progress("read checkpoint"):
        loaded = read_checkpoint(checkpoint, ema=ema)
        spec = fit(loaded, overrides)
    if tuned is not None:
        tuned.check_network(spec, (preprocessing.height, preprocessing.width))
        build = replace(build, lowering=tuned.layers)
    if texts:
        _check_label_count(texts, spec.num_classes)
    name = name or spec.file_name(preprocessing.height, preprocessing.width)
    config = ExportConfig(Path(out), name, build, formats, texts, with_baseline)
    return export_checkpoint(loaded, spec, config, progress)


def _tuned(lowering: StrPath, *, foreign: bool) -> TunedLowering | None:
    """Return what a lowering file says; None where ``lowering`` is a name."""
    path = Path(lowering)
    if path.suffix != ".json":
        return None
    from dcd_deploy.benchmarks.environment import read_environment
    from dcd_deploy.tuning.lowering_file import read_lowering
    from dcd_deploy.tuning.tune import version_of

    found = read_lowering(path)
    if not foreign:
        environment = read_environment()
        found.check_place(version_of(found.runtime, environment), environment.cpu)
    return found


def tune(
    checkpoint: StrPath,
    *,
    target: str,
    out: StrPath | None = None,
    device: str = "local",
    ema: bool = False,
    input_size: Size = 224,
    threads: int = 1,
    progress: Progress = silent,
) -> TuneResult:
    """Choose the form of each dynamic layer by measuring on the device that will run it, and write that to ``out``.

    ``target`` is one runtime ("onnxruntime-x86", "onnxruntime-arm", "litert"). Layers of one shape are measured once,
    all forms in turns; another form than the target's rule would take is chosen only where the interval says that it
    is quicker. What is measured is kept in the user's cache, and not measured again. ``export`` takes the file as its
    ``lowering``.

    Raises:
        OptionError: the target is no single runtime.
        MissingDependencyError: its runtime is not on the device.
        DeviceError: the device cannot be used.
    """
    require("torch")
    from dcd_deploy.devices.names import parse_device
    from dcd_deploy.devices.opening import open_device
    from dcd_deploy.models.checkpoint import read_checkpoint
    from dcd_deploy.models.fit import fit
    from dcd_deploy.tuning.lowering_file import write_lowering
    from dcd_deploy.tuning.tune import TuneConfig, check_tunable
    from dcd_deploy.tuning.tune import tune as tune_network

    config = TuneConfig(check_tunable(target), parse_size(input_size), parse_count("--threads", threads, MOST_THREADS))
    _require_packages(config.target.format)
    if out is not None:
        check_writable(Path(out).parent)
        check_no_folder([Path(out)])
    with progress("read checkpoint"):
        spec = fit(read_checkpoint(checkpoint, ema=ema))
    if not spec.dynamic:
        raise OptionError(f"expected a network with dynamic layers to tune, found {spec.describe()}")
    with open_device(parse_device(device), progress=progress) as place:
        result = tune_network(spec, config, place, progress)
    if out is not None:
        write_lowering(Path(out), result.lowering)
    return result


def costs(
    checkpoint: StrPath, *, target: str, ema: bool = False, input_size: Size = 224, progress: Progress = silent
) -> Forecast:
    """Say what each form of each dynamic layer costs on a target, by its cost model: nothing is exported or measured.

    Raises:
        OptionError: the target is no single runtime, or the network is not dynamic.
    """
    require("torch")
    from dcd_deploy.models.checkpoint import read_checkpoint
    from dcd_deploy.models.fit import fit
    from dcd_deploy.models.sizes import check_input_size
    from dcd_deploy.tuning.forecast import forecast
    from dcd_deploy.tuning.tune import check_tunable

    chosen, size = check_tunable(target), parse_size(input_size)
    check_input_size(*size)
    with progress("read checkpoint"):
        spec = fit(read_checkpoint(checkpoint, ema=ema))
    if not spec.dynamic:
        raise OptionError(f"expected a network with dynamic layers, found {spec.describe()}")
    return forecast(spec, size, chosen)


def verify(
    artifact: StrPath,
    *,
    checkpoint: StrPath | None = None,
    ema: bool = False,
    tolerance: float | None = None,
    samples: StrPath | None = None,
    device: str | None = None,
    progress: Progress = silent,
) -> VerificationReport | SelfCheck:
    """Check that a model file computes what was trained, here or on ``device``, an emulated ARM core.

    With ``checkpoint``, against its float64 train form, as at the export. Without, against the few reference outputs
    that the file carries, which needs no torch. The ``tolerance`` is 5e-5, or the file's own if that is stricter.

    Raises:
        VerificationError: it does not.
        DeviceError: emulation is not set up, or ended in the middle.
    """
    tolerance = None if tolerance is None else parse_tolerance(tolerance)
    core = None if device is None else emulated_core(device)
    with _opened(Path(artifact), core, progress) as model:
        if checkpoint is None:
            from dcd_deploy.runtimes import self_check

            with progress(f"self-check{_on(core)}"):
                return self_check(model).checked(tolerance)
        require("torch")
        from dcd_deploy.export.recheck import verify_against_checkpoint

        return verify_against_checkpoint(
            model,
            Path(checkpoint),
            ema=ema,
            tolerance=tolerance,
            samples=None if samples is None else Path(samples),
            stage=f"model file{_on(core)}",
            progress=progress,
        )


@contextmanager
def _opened(artifact: Path, core: Core | None, progress: Progress) -> Iterator[Model]:
    """Yield a model file opened here, or on an emulated core."""
    if core is None:
        from dcd_deploy.runtimes import open_model

        yield open_model(artifact)
        return
    from dcd_deploy.devices.emulated.session import emulated_model

    with emulated_model(artifact, core, progress=progress) as model:
        yield model


def _on(core: Core | None) -> str:
    return "" if core is None else f" on emulated {core.name}"


def emulated_core(device: str) -> Core:
    """Return the core of "arm64-emulated" or "arm64-emulated:cortex-a53".

    Raises:
        UnknownNameError: there is no such device or core.
        OptionError: it is a device of another kind.
    """
    from dcd_deploy.devices.emulated.cores import core_named
    from dcd_deploy.devices.names import EMULATED, FORMS, parse_device

    name = parse_device(device)
    if name.kind != EMULATED:
        raise OptionError(
            f"expected the device {FORMS[EMULATED]}, found '{name.text}'; boards and phones are for bench"
        )
    return core_named(name.part)


def setup_emulated(*, install: bool = False, progress: Progress = silent) -> EmulationSetup:
    """Make what the devices "arm64-emulated:CORE" need, once, in the user's cache folder.

    Debian's packages that are missing are named, or installed if ``install`` (as root).

    Raises:
        DeviceLackError: something is missing and cannot be had.
    """
    from dcd_deploy.devices.emulated.setup import set_up_emulation

    return set_up_emulation(install=install, progress=progress)


def inspect(
    file: StrPath, *, ema: bool = False, input_size: Size = 224
) -> CheckpointSummary | OnnxFileSummary | TfliteFileSummary:
    """Say what a checkpoint or a model file holds.

    Raises:
        CheckpointMismatchError: a checkpoint of no known network; the error carries the exact lists of keys.
    """
    path = Path(file)
    if path.suffix == ".tflite":
        from dcd_deploy.export.tflite_summary import summarise_tflite

        return summarise_tflite(path)
    if path.suffix == ".onnx":
        require("onnx")
        from dcd_deploy.export.onnx_file import summarise_onnx

        return summarise_onnx(path)
    require("torch")
    from dcd_deploy.models.inspection import inspect_checkpoint

    return inspect_checkpoint(path, *parse_size(input_size), ema=ema)


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
    measured again.

    Raises:
        OptionError: a value is out of range, the file's batch is another, or two files take different inputs.
        BenchError: a runtime crashed or hung; ``result`` has the other trials.
        DeviceError: a device cannot be used, or was lost; ``result`` has what was measured.
    """
    from dcd_deploy.benchmarks.bench import BenchConfig, bench, check_cores
    from dcd_deploy.benchmarks.measure import MeasureConfig
    from dcd_deploy.benchmarks.place import LOCAL
    from dcd_deploy.contests import Wanted, contests_for
    from dcd_deploy.devices.fleet import bench_on
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
        batches=(None,) if batch is None else _batches(batch),
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
    targets = _targets(device, fleet, options) or ([] if out is None else _targets(LOCAL, None))
    if all(target.name.kind == LOCAL for target in targets):
        for number in wanted.threads:
            check_cores(number, config.cpus)
    with tempfile.TemporaryDirectory(prefix="dcd-deploy-") as folder:
        contests, failures = contests_for(wanted, Path(folder), _exporter(input_size, progress), progress)
        if targets:
            return bench_on(targets, contests, config, progress, failures, None if out is None else Path(out))
        return bench(contests, config, progress, failures)


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


def count(
    *models: StrPath,
    device: str | Sequence[str] = "arm64-emulated",
    baseline: StrPath = "static",
    against: str | Sequence[str] = (),
    runtime: str | Sequence[str] = (),
    batch: Counts | None = None,
    input_size: Size = 224,
    runs: int = 3,
    time_limit: float = 600.0,
    progress: Progress = silent,
) -> CountResult:
    """Count what models make emulated ARM cores do in a run, each beside its baseline and others.

    ``device`` is "arm64-emulated:CORE", or several; ``time_limit`` is in seconds for each run; the others are as of
    ``bench``. Nothing is timed.

    Raises:
        UnknownNameError: there is no such core.
        DeviceLackError: emulation is not set up here, or this version of QEMU cannot count.
        BenchError: some trials could not be counted; ``result`` has the others.
    """
    from dcd_deploy.contests import Wanted, contests_for
    from dcd_deploy.devices.emulated.counting import count_contests

    if not models:
        raise OptionError("expected a model file or a checkpoint to count, found none")
    cores = tuple(dict.fromkeys(map(emulated_core, parse_names(device))))
    runs = parse_count("--runs", runs, MOST_COUNTED)
    wanted = Wanted(
        models=tuple(map(Path, models)),
        baseline=str(baseline),
        against=parse_names(against),
        runtimes=parse_names(runtime),
        batches=(None,) if batch is None else _batches(batch),
    )
    with tempfile.TemporaryDirectory(prefix="dcd-deploy-") as folder:
        contests, failures = contests_for(wanted, Path(folder), _exporter(input_size, progress), progress)
        limit = parse_seconds("--time-limit", time_limit)
        return count_contests(contests, cores, runs, progress, failures, limit)


def devices(
    *names: str,
    fleet: StrPath | None = None,
    setup: bool = False,
    clean: bool = False,
    progress: Progress = silent,
) -> DeviceList:
    """Say what devices are: those named, those of a ``fleet`` file, or without either all that can be found.

    With ``setup`` an environment is made on each that has what measuring needs; with ``clean`` all is removed that
    this program ever left there.

    Raises:
        DeviceError: the only device asked for cannot be reached or used; of several each says so for itself.
    """
    from dcd_deploy.devices.listing import list_devices
    from dcd_deploy.devices.opening import DeviceOptions, found_devices
    from dcd_deploy.devices.target import named_targets

    if setup and clean:
        raise OptionError("expected --setup or --clean, found both")
    targets = _targets(names, fleet, DeviceOptions(setup=setup)) or named_targets(name.text for name in found_devices())
    return list_devices(targets, clean=clean, progress=progress)


def _targets(device: str | Sequence[str], fleet: StrPath | None, options: DeviceOptions | None = None) -> list[Target]:
    """Return the devices named one by one and in a file."""
    from dcd_deploy.devices.target import check_labels, named_targets, read_fleet

    found = named_targets([device] if isinstance(device, str) else device, options)
    found += [] if fleet is None else read_fleet(Path(fleet))
    check_labels(found)
    return found


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


def check_table(by: str) -> None:
    """Raise UnknownNameError unless ``by`` is one of ``PROFILE_TABLES``."""
    if by not in PROFILE_TABLES:
        raise UnknownNameError("table of a profile", by, PROFILE_TABLES)


def profile(
    model: StrPath, *, threads: int = 1, runs: int = 30, csv: StrPath | None = None, progress: Progress = silent
) -> ProfileResult:
    """Say where the time of a model goes: by node, by layer, and static part against dynamic part and layout.

    The median over ``runs`` runs under the runtime's own profiler, beside the latency without it; as a table of nodes
    in the file ``csv`` too, if given.

    Raises:
        OptionError: a value is out of range.
        UnknownNameError: this kind of file has no profiler here.
        MissingDependencyError: what reads the file, or a version of LiteRT whose profiler can be read, is not there.
    """
    from dcd_deploy.benchmarks.bench import check_cores
    from dcd_deploy.benchmarks.profile import MOST_RUNS
    from dcd_deploy.benchmarks.profile_run import profile_model

    check_cores(threads, None)
    runs = parse_count("--runs", runs, MOST_RUNS)
    if csv is not None:
        check_writable(Path(csv).parent)
        check_no_folder([Path(csv)])
    path = existing_file(model, "a model file")
    result = profile_model(path, _nodes(path), threads=threads, runs=runs, progress=progress)
    if csv is not None:
        from dcd_deploy.benchmarks.profile_csv import write_csv

        write_csv(result, Path(csv))
    return result


def count_layers(model: StrPath, *, device: str = "arm64-emulated", progress: Progress = silent) -> LayerCounts:
    """Count what each layer of an ONNX file makes an emulated ARM core do in a run.

    Raises:
        UnknownNameError: there is no such core, or it is a file of another kind.
        DeviceLackError: emulation is not set up here, or this version of QEMU cannot count.
    """
    from dcd_deploy.devices.emulated import layers

    path = existing_file(model, "a model file")
    return layers.count_layers(path, _nodes(path), emulated_core(device), progress)


def _nodes(path: Path) -> tuple[FileNode, ...]:
    """Return the nodes of a model file."""
    if path.suffix == ".onnx":
        require("onnx")
        from dcd_deploy.export.onnx_file import read_onnx_nodes

        return read_onnx_nodes(path)
    if path.suffix == ".tflite":
        require("ai_edge_litert.schema_py_generated")
        from dcd_deploy.export.tflite_file import read_tflite_nodes

        return read_tflite_nodes(path)
    raise UnknownNameError("kind of model file", path.suffix or str(path), (".onnx", ".tflite"))


def predict(model: StrPath, image: StrPath, *, top: int = 5) -> list[Prediction]:
    """Return the likeliest classes of a picture file, the likeliest first."""
    from dcd_deploy.runtimes import open_model
    from dcd_deploy.runtimes.pictures import read_picture

    top = parse_count("--top", top, LARGEST_SIZE)
    return open_model(model).predict(read_picture(image), top)


def _batches(batch: Counts) -> tuple[int | None, ...]:
    found = parse_counts("--batch", batch)
    if 0 in found:
        raise OptionError("expected a --batch of at least one, found 0")
    return found


def _formats(to: str | Sequence[str]) -> tuple[str, ...]:
    """Return the formats of "onnx,tflite" or ("onnx", "tflite"), each once, when what they need is installed."""
    names = to.split(",") if isinstance(to, str) else to
    formats = tuple(dict.fromkeys(name.strip() for name in names))
    for format in formats:
        if format not in FORMATS:
            raise UnknownNameError("format", format, FORMATS)
    for format in formats:
        _require_packages(format)
    return formats


def _require_packages(format: str) -> None:
    for package in FORMATS.get(format, ()):
        check_installed(package)


def _preprocessing(input_size: Size, mean: Channels, std: Channels, resize: int | None) -> Preprocessing:
    height, width = parse_size(input_size)
    given = {
        "mean": parse_triple("--mean", mean),
        "std": parse_triple("--std", std),
        "resize": None if resize is None else parse_count("--resize", resize, LARGEST_SIZE),
    }
    settings = Preprocessing.for_size(
        height, width, **{key: value for key, value in given.items() if value is not None}
    )
    if min(settings.std) <= 0:
        raise OptionError(f"expected positive --std, found {settings.std}")
    if settings.resize < max(height, width):
        raise OptionError(f"expected --resize of at least the input size {max(height, width)}, found {settings.resize}")
    return settings


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[\w.+-]+", name) or name.startswith("."):
        raise OptionError(f"expected a --name of letters, digits, '_', '-', '+' and '.', found '{name}'")
    return name


def _labels(labels: StrPath | Sequence[str] | None) -> tuple[str, ...]:
    if labels is None:
        return ()
    if isinstance(labels, str | os.PathLike):
        labels = _lines(existing_file(labels, "a file of labels, one per line"))
    found = tuple(label.strip() for label in labels)
    if not found:
        raise OptionError("expected labels, one for each class of the network, found none; check --labels")
    return found


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputFileError(
            f"expected a UTF-8 text file of labels at '{path}', found other bytes ({error})"
        ) from error
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _check_label_count(labels: tuple[str, ...], classes: int) -> None:
    if len(labels) != classes:
        raise OptionError(
            f"expected {classes} labels, one for each class of the network, found {len(labels)}; check --labels"
        )
