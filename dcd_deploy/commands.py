"""The commands as Python functions, under the same words as on the command line.

    from dcd_deploy import commands

    result = commands.export("model_best.pth.tar", out="deploy", with_baseline=True)
    commands.verify(result.artifact.path, checkpoint="model_best.pth.tar")
    commands.bench(result.artifact.path)

Each imports what it needs when it is called: ``predict``, ``bench`` and ``verify`` without a checkpoint need numpy
and the runtime alone.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.errors import InputFileError, OptionError, UnknownNameError
from dcd_deploy.files import existing_file
from dcd_deploy.optional import check_installed, require
from dcd_deploy.progress import Progress, silent

if TYPE_CHECKING:
    from dcd_deploy.benchmarks.bench import BenchResult
    from dcd_deploy.export.onnx_file import OnnxFileSummary
    from dcd_deploy.export.pipeline import ExportResult
    from dcd_deploy.export.tflite_summary import TfliteFileSummary
    from dcd_deploy.export.verify import VerificationReport
    from dcd_deploy.models.inspection import CheckpointSummary
    from dcd_deploy.runtimes import Prediction, SelfCheck

StrPath = str | os.PathLike[str]
Triple = tuple[float, float, float]

FORMATS = {
    "onnx": ("torch", "onnx", "onnxscript", "onnxsim"),
    "tflite": ("torch", "litert_torch", "ai_edge_litert.interpreter"),
}  # and the packages that each needs


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
    input_size: int | tuple[int, int] = 224,
    batch: int | None = 1,
    lowering: str = "auto",
    opset: int = 18,
    layout: str = "nhwc",
    labels: StrPath | Sequence[str] | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
    resize: int | None = None,
    with_baseline: bool = False,
    tolerance: float | None = None,
    samples: StrPath | None = None,
    progress: Progress = silent,
) -> ExportResult:
    """Turn a trained checkpoint into verified model files ``out``/``name``.onnx or .tflite, each with a JSON sidecar.

    ``to`` is "onnx", "tflite" or both ("onnx,tflite"); ``opset`` counts for the first, ``layout`` of the input, "nhwc"
    or "nchw", for the second.
    ``input_size`` is a side or (height, width); ``batch`` a number, or None for any; ``labels`` a file with one per
    line, or the labels themselves; ``mean`` and ``std`` are of RGB values 0..1; ``samples`` a .npy file of normalised
    pictures to verify on. The architecture and its settings follow from the tensors where they are not given.

    Raises:
        DcdDeployError: with the exit code of its kind (see ``dcd_deploy.errors``); no file is left then.
    """
    formats = _formats(to)
    from dcd_deploy.export.build import BuildConfig
    from dcd_deploy.export.pipeline import ExportConfig, export_checkpoint
    from dcd_deploy.export.verify import FLOAT32_TOLERANCE
    from dcd_deploy.models.checkpoint import read_checkpoint
    from dcd_deploy.models.fit import fit
    from dcd_deploy.models.infer import SpecOverrides

    preprocessing = _preprocessing(input_size, mean, std, resize)
    with progress("read checkpoint"):
        loaded = read_checkpoint(checkpoint, ema=ema)
        spec = fit(loaded, SpecOverrides(arch, width_mult, fc_squeeze, num_classes, dropout))
    build = BuildConfig(
        preprocessing=preprocessing,
        batch=_checked_batch(batch),
        lowering=lowering,
        opset=opset,
        layout=layout,
        tolerance=_checked_tolerance(FLOAT32_TOLERANCE if tolerance is None else tolerance),
        samples=None if samples is None else Path(samples),
    )
    name = _checked_name(name or spec.file_name(preprocessing.height, preprocessing.width))
    config = ExportConfig(Path(out), name, build, formats, _labels(labels, spec.num_classes), with_baseline)
    return export_checkpoint(loaded, spec, config, progress)


def verify(
    artifact: StrPath,
    *,
    checkpoint: StrPath | None = None,
    ema: bool = False,
    tolerance: float | None = None,
    samples: StrPath | None = None,
    progress: Progress = silent,
) -> VerificationReport | SelfCheck:
    """Check that a model file computes what was trained.

    With ``checkpoint``, against its float64 train form, as at the export. Without, against the few reference outputs
    that the file carries, which needs no torch.

    Raises:
        VerificationError: it does not.
    """
    from dcd_deploy.runtimes import open_model, self_check

    model = open_model(artifact)
    if checkpoint is None:
        with progress("self-check"):
            return self_check(model).checked(tolerance)
    require("torch")
    from dcd_deploy.export.recheck import verify_against_checkpoint

    own = None if samples is None else Path(samples)
    return verify_against_checkpoint(
        model, Path(checkpoint), ema=ema, tolerance=tolerance, samples=own, progress=progress
    )


def inspect(
    file: StrPath, *, ema: bool = False, input_size: int | tuple[int, int] = 224
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

    return inspect_checkpoint(path, *_size(input_size), ema=ema)


def bench(
    model: StrPath,
    *,
    baseline: StrPath = "static",
    threads: int = 1,
    batch: int = 1,
    min_seconds: float = 3.0,
    progress: Progress = silent,
) -> BenchResult:
    """Time ``model`` and a baseline in turns.

    ``baseline`` is a model file; "static" for the static twin, which is the file that ``export --with-baseline``
    wrote, or is made on the spot; or "none".
    """
    from dcd_deploy.benchmarks.bench import bench_models
    from dcd_deploy.benchmarks.measure import MeasureConfig
    from dcd_deploy.runtimes.model import open_model

    path = existing_file(model, "a model file")
    config = MeasureConfig(min_seconds=min_seconds)
    with tempfile.TemporaryDirectory(prefix="dcd-deploy-") as folder:
        if baseline != "static":
            other = None if baseline == "none" else Path(baseline)
        elif not (other := path.with_name(f"{path.stem}-static{path.suffix}")).exists():
            _require_packages(path.suffix.removeprefix("."))
            from dcd_deploy.export.twin import export_twin

            other = export_twin(open_model(path), Path(folder), progress)
        return bench_models(path, other, threads=threads, batch=batch, config=config, progress=progress)


def predict(model: StrPath, image: StrPath, *, top: int = 5) -> list[Prediction]:
    """Return the likeliest classes of a picture file, the likeliest first."""
    from dcd_deploy.runtimes import open_model
    from dcd_deploy.runtimes.pictures import read_picture

    if top < 1:
        raise OptionError(f"expected --top of at least 1, found {top}")

    return open_model(model).predict(read_picture(image), top)


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


def _preprocessing(
    input_size: int | tuple[int, int], mean: Triple | None, std: Triple | None, resize: int | None
) -> Preprocessing:
    height, width = _size(input_size)
    settings = Preprocessing.for_size(height, width)
    settings = replace(settings, mean=mean or settings.mean, std=std or settings.std, resize=resize or settings.resize)
    if min(settings.std) <= 0:
        raise OptionError(f"expected positive --std, found {settings.std}")
    if settings.resize < max(height, width):
        raise OptionError(f"expected --resize of at least the input size {max(height, width)}, found {settings.resize}")
    return settings


def _size(input_size: int | tuple[int, int]) -> tuple[int, int]:
    return (input_size, input_size) if isinstance(input_size, int) else input_size


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[\w.+-]+", name) or name.startswith("."):
        raise OptionError(f"expected a --name of letters, digits, '_', '-', '+' and '.', found '{name}'")
    return name


def _checked_batch(batch: int | None) -> int | None:
    if batch is not None and batch < 1:
        raise OptionError(f"expected a --batch of at least 1, or 'dynamic', found {batch}")
    return batch


def _checked_tolerance(tolerance: float) -> float:
    if not 0 < tolerance < 1:
        raise OptionError(f"expected a --tolerance between 0 and 1, found {tolerance}")
    return tolerance


def _labels(labels: StrPath | Sequence[str] | None, classes: int) -> tuple[str, ...]:
    if labels is None:
        return ()
    if isinstance(labels, str | os.PathLike):
        path = existing_file(labels, "a file of labels, one per line")
        try:
            labels = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise InputFileError(
                f"expected a UTF-8 text file of labels at '{path}', found other bytes ({error})"
            ) from error
        while labels and not labels[-1].strip():
            labels = labels[:-1]
    found = tuple(label.strip() for label in labels)
    if len(found) != classes:
        raise OptionError(
            f"expected {classes} labels, one for each class of the network, found {len(found)}; check --labels"
        )
    return found
