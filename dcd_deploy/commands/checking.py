"""What a file holds, whether it computes what was trained, and what it says of a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from dcd_deploy.artifacts import LARGEST_SIZE
from dcd_deploy.commands.arguments import StrPath, UntoldOptions, emulated_core, parse_untold
from dcd_deploy.optional import require
from dcd_deploy.progress import Progress, silent
from dcd_deploy.values import (
    Size,
    parse_count,
    parse_size,
    parse_tolerance,
)

if TYPE_CHECKING:
    from dcd_deploy.devices.emulated.cores import Core
    from dcd_deploy.export.onnx_file import OnnxFileSummary
    from dcd_deploy.export.tflite_summary import TfliteFileSummary
    from dcd_deploy.export.verify import VerificationReport
    from dcd_deploy.models.inspection import CheckpointSummary
    from dcd_deploy.runtimes import Model, Prediction, SelfCheck


def verify(
    artifact: StrPath,
    *,
    checkpoint: StrPath | None = None,
    ema: bool = False,
    tolerance: float | None = None,
    samples: StrPath | None = None,
    reference: StrPath | None = None,
    device: str | None = None,
    prefix: str | None = None,
    drop: Sequence[str] = (),
    progress: Progress = silent,
    **untold: Unpack[UntoldOptions],
) -> VerificationReport | SelfCheck:
    """Check that a model file computes what was trained, here or on ``device``, an emulated ARM core.

    With ``checkpoint``, against its float64 train form, as at the export. Without, against the few reference outputs
    that the file carries, which needs no torch. With ``reference``, an .npz file of what your own network answered
    (``dcd_deploy.record_reference``), against that too, and without a checkpoint against that alone. The ``tolerance``
    is 5e-5, or the file's own if that is stricter. ``prefix``, ``drop`` and
    ``untold`` are as for ``export``; what they leave open is as when the file was made.

    Raises:
        VerificationError: it does not.
        DeviceError: emulation is not set up, or ended in the middle.
    """
    tolerance = None if tolerance is None else parse_tolerance(tolerance)
    core = None if device is None else emulated_core(device)
    with _opened(Path(artifact), core, progress) as model:
        recorded = None if reference is None else Path(reference)
        if checkpoint is None and recorded is not None:
            from dcd_deploy.export.recheck_recorded import verify_against_recorded

            stage = f"model file{_on(core)}"
            return verify_against_recorded(model, recorded, tolerance=tolerance, stage=stage, progress=progress)
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
            recorded=recorded,
            prefix=prefix,
            drop=drop,
            untold=parse_untold(untold),
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


def inspect(
    file: StrPath,
    *,
    ema: bool = False,
    input_size: Size = 224,
    prefix: str | None = None,
    drop: Sequence[str] = (),
    **untold: Unpack[UntoldOptions],
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

    size = parse_size(input_size)
    return inspect_checkpoint(path, *size, ema=ema, prefix=prefix, drop=drop, untold=parse_untold(untold))


def predict(model: StrPath, image: StrPath, *, top: int = 5) -> list[Prediction]:
    """Return the likeliest classes of a picture file, the likeliest first."""
    from dcd_deploy.runtimes import open_model
    from dcd_deploy.runtimes.pictures import read_picture

    top = parse_count("--top", top, LARGEST_SIZE)
    return open_model(model).predict(read_picture(image), top)
