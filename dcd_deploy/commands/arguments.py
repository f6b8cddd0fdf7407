"""Arguments that several commands share, from what a user gives to what the library takes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dcd_deploy.artifacts import LARGEST_SIZE, MOST_ZOOM, Preprocessing
from dcd_deploy.commands.options import CHECKS, DEVICES, MEASURING, Option, StrPath
from dcd_deploy.commands.values import (
    Channels,
    Counts,
    Size,
    parse_amount,
    parse_count,
    parse_counts,
    parse_size,
    parse_triple,
)
from dcd_deploy.errors import InputFileError, OptionError, UnknownNameError, shown
from dcd_deploy.files import existing_file
from dcd_deploy.optional import FORMATS, require_packages

if TYPE_CHECKING:
    from dcd_deploy.benchmarks.measure import MeasureConfig
    from dcd_deploy.emulation.cores import Core

RUNTIME_FORMATS = {"executorch": "pte"}  # what people call a format by its runtime
MOST_RUNS, MOST_ROUNDS, MOST_THREADS = 1_000_000, 100, 1024


Tolerance = Annotated[float | None, Option("Largest error, relative to the outputs' range.", CHECKS, default="5e-5")]
Samples = Annotated[StrPath | None, Option(".npy file of normalised pictures (n, 3, H, W) to verify on.", CHECKS)]
Reference = Annotated[
    StrPath | None,
    Option(".npz file of what your own network answered (dcd_deploy.record_reference).", CHECKS),
]
Target = Annotated[
    str, Option("Runtime: onnxruntime-x86, onnxruntime-arm, litert, litert-compiled or executorch.", beside=True)
]
LayerPrecision = Annotated[str, Option("What layers compute in: float32, float16 or int8.", beside=True)]
Threads = Annotated[int, Option("Threads of the runtime.")]
ThreadCounts = Annotated[Counts, Option("Threads of the runtime, such as 1 or 1,2.")]
MinRuns = Annotated[int, Option("Count at least so many runs of each model.", MEASURING)]
MinSeconds = Annotated[float, Option("Measure at least this long.", MEASURING)]
InputSize = Annotated[Size, Option("Side, or HEIGHTxWIDTH.")]
Fleet = Annotated[StrPath | None, Option("File that names devices (devices.toml).", DEVICES)]
Setup = Annotated[bool, Option("Install on the devices what measuring needs, in an environment of its own.", DEVICES)]


def parse_formats(to: str | Sequence[str]) -> tuple[str, ...]:
    """Return the formats of "onnx,tflite" or ("onnx", "tflite"), each once, when what they need is installed."""
    names = to.split(",") if isinstance(to, str) else to
    formats = tuple(dict.fromkeys(RUNTIME_FORMATS.get(name.strip(), name.strip()) for name in names))
    for format in formats:
        if format not in FORMATS:
            raise UnknownNameError("format", format, (*FORMATS, *RUNTIME_FORMATS))
    for format in formats:
        require_packages(format)
    return formats


def parse_preprocessing(input_size: Size, mean: Channels, std: Channels, resize: int | None) -> Preprocessing:
    """Return the preprocessing that the options say; what they leave out is the usual one of the input size."""
    height, width = parse_size(input_size)
    given = {
        "mean": parse_triple("mean", mean),
        "std": parse_triple("std", std),
        "resize": None if resize is None else parse_count("resize", resize, LARGEST_SIZE),
    }
    settings = Preprocessing.for_size(
        height, width, **{key: value for key, value in given.items() if value is not None}
    )
    _check_normalisation(settings)
    if settings.resize < max(height, width):
        raise OptionError(expected=f"`resize` of at least the input size {max(height, width)}", found=settings.resize)
    if settings.resize > MOST_ZOOM * max(height, width):
        raise OptionError(
            expected=f"`resize` of at most {MOST_ZOOM} times the input size {max(height, width)}", found=settings.resize
        )
    return settings


def _check_normalisation(settings: Preprocessing) -> None:
    """Raise OptionError where mean and deviation are not of RGB values 0..1."""
    if min(settings.std) <= 0:
        raise OptionError(expected="positive `std`", found=settings.std)
    for option, values in (("mean", settings.mean), ("std", settings.std)):
        if min(values) < 0 or max(values) > 1:
            grey = "these look like grey levels of 0 to 255; divide them by 255" if max(values) > 1 else ""
            raise OptionError(expected=f"`{option}` of RGB values 0..1", found=values, advice=grey)


def checked_name(name: str) -> str:
    """Return the name, if a file can have it anywhere."""
    if not re.fullmatch(r"[\w+][\w.+ -]*(?<! )", name):
        option = "programs take what begins with '-' for an option; begin with a letter" if name[:1] == "-" else ""
        raise OptionError(
            expected="a `name` of letters, digits, spaces, '_', '-', '+' and '.'",
            found=f"'{shown(name)}'",
            advice=option,
        )
    return name


def parse_labels(labels: StrPath | Sequence[str] | None) -> tuple[str, ...]:
    """Return the labels of a file, or those given, or none."""
    if labels is None:
        return ()
    if isinstance(labels, str | os.PathLike):
        labels = _lines(existing_file(labels, "a file of labels, one per line"))
    found = tuple(label.strip() for label in labels)
    if not found:
        raise OptionError(expected="labels, one for each class of the network", found="none", advice="check `labels`")
    return found


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputFileError(
            expected=f"a UTF-8 text file of labels at '{path}'", found=f"other bytes ({error})"
        ) from error
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def check_label_count(labels: tuple[str, ...], classes: int) -> None:
    """Raise OptionError unless there is a label for each class."""
    if len(labels) != classes:
        raise OptionError(
            expected=f"{classes} labels, one for each class of the network", found=len(labels), advice="check `labels`"
        )


def parse_batches(batch: Counts) -> tuple[int | None, ...]:
    """Return the batch sizes to measure; none of them is zero."""
    found = parse_counts("batch", batch)
    if 0 in found:
        raise OptionError(expected="a `batch` of at least one", found="0")
    return found


def parse_measure(min_runs: int, min_seconds: float, rounds: int = 5) -> MeasureConfig:
    """Return how long to measure."""
    from dcd_deploy.benchmarks.measure import MeasureConfig

    return MeasureConfig(
        min_runs=parse_count("min_runs", min_runs, MOST_RUNS),
        min_seconds=parse_amount("min_seconds", min_seconds),
        rounds=parse_count("rounds", rounds, MOST_ROUNDS),
    )


def emulated_core(device: str) -> Core:
    """Return the core of "arm64-emulated" or "arm64-emulated:cortex-a53".

    Raises:
        UnknownNameError: there is no such device or core.
        OptionError: it is a device of another kind.
    """
    from dcd_deploy.devices.names import FORMS, parse_device
    from dcd_deploy.emulation.cores import EMULATED, core_named

    name = parse_device(device)
    if name.kind != EMULATED:
        raise OptionError(
            expected=f"the device {FORMS[EMULATED]} alone",
            found=f"'{name.text}': what is timed, here, on boards and on phones, has a bench of its own",
        )
    return core_named(name.part)
