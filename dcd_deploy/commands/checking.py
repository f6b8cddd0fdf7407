"""What a file holds, whether it computes what was trained, and what it says of a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from dcd_deploy.artifacts import LARGEST_SIZE
from dcd_deploy.commands.arguments import StrPath, emulated_core
from dcd_deploy.commands.networks import (
    USUAL_SIZE,
    NetworkOptions,
    check_options,
    overrides_of,
    read_weights,
    trained_network,
)
from dcd_deploy.errors import OptionError
from dcd_deploy.optional import require
from dcd_deploy.progress import Progress, silent
from dcd_deploy.values import (
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
    from dcd_deploy.models.spec import NetworkSpec
    from dcd_deploy.runtimes import Model, Prediction, SelfCheck


def verify(
    artifact: StrPath,
    *,
    checkpoint: StrPath | None = None,
    tolerance: float | None = None,
    samples: StrPath | None = None,
    reference: StrPath | None = None,
    device: str | None = None,
    progress: Progress = silent,
    **network: Unpack[NetworkOptions],
) -> VerificationReport | SelfCheck:
    """Check that a model file computes what was trained, here or on ``device``, an emulated ARM core.

    With ``checkpoint``, against its float64 train form, as at the export. Without, against the few reference outputs
    that the file carries, which needs no torch. With ``reference``, an .npz file of what your own network answered
    (``dcd_deploy.record_reference``), against that too, and without a checkpoint against that alone. The ``tolerance``
    is 5e-5, or the file's own if that is stricter. ``network`` says
    which network the checkpoint holds (``commands.networks``); what it leaves open is as when the file was made.

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
        from dcd_deploy.export.recheck import verify_against_network

        found = trained_network(checkpoint, made_as=_made_as(model), progress=progress, **_as_in_file(model, network))
        return verify_against_network(
            model,
            found.captured(progress),
            found.checkpoint,
            assumed=found.assumed,
            ema=network.get("ema", False),
            tolerance=tolerance,
            samples=None if samples is None else Path(samples),
            recorded=recorded,
            stage=f"model file{_on(core)}",
            progress=progress,
        )


def _made_as(model: Model) -> NetworkSpec | None:
    """Return the network of the registry that a file says it is; None of a user's own."""
    from dcd_deploy.models.spec import NetworkSpec

    spec = model.described().spec
    return None if spec is None else NetworkSpec.from_json(spec)


def _as_in_file(model: Model, network: NetworkOptions) -> NetworkOptions:
    """Return the options, with the size of the file's input where they do not say it.

    Raises:
        OptionError: the file is of a user's own module, and no option says which makes it.
    """
    card = model.described()
    sides = [size for size in card.input.torch_shape[1:] if size is not None]
    if network.get("network") is not None:
        return {"input_shape": tuple(sides), **network}
    if card.spec is None:
        raise OptionError(
            f"expected --network FILE.py:FACTORY with a file of your own module {card.arch}, found none; it makes the "
            "network that the checkpoint's weights are for"
        )
    return {"input_size": (sides[1], sides[2]), **network}


@contextmanager
def _opened(artifact: Path, core: Core | None, progress: Progress) -> Iterator[Model]:
    """Yield a model file opened here, or on an emulated core."""
    if core is None:
        from dcd_deploy.runtimes.isolated import isolated_model

        with isolated_model(artifact) as model:
            yield model
        return
    from dcd_deploy.devices.emulated.session import emulated_model

    with emulated_model(artifact, core, progress=progress) as model:
        yield model


def _on(core: Core | None) -> str:
    return "" if core is None else f" on emulated {core.name}"


def inspect(
    file: StrPath, *, progress: Progress = silent, **network: Unpack[NetworkOptions]
) -> CheckpointSummary | OnnxFileSummary | TfliteFileSummary:
    """Say what a checkpoint or a model file holds; ``network`` says which network (``commands.networks``).

    Raises:
        CheckpointMismatchError: a checkpoint of no known network; the error carries the exact lists of keys.
    """
    path = Path(file)
    if path.suffix == ".tflite":
        from dcd_deploy.export.tflite_summary import summarise_tflite

        return cast("TfliteFileSummary", _isolated(summarise_tflite, path))
    if path.suffix == ".onnx":
        require("onnx")
        from dcd_deploy.export.onnx_file import summarise_onnx

        return cast("OnnxFileSummary", _isolated(summarise_onnx, path))
    require("torch")
    if network.get("network") is not None or network.get("leaf"):
        return _inspect_captured(path, progress, network)
    from dcd_deploy.models.inspection import inspect_checkpoint

    check_options(network)
    size = parse_size(network.get("input_size", USUAL_SIZE))
    return inspect_checkpoint(read_weights(path, network), *size, overrides_of(network))


def _isolated(summarise: Callable[[Path], Any], path: Path) -> Any:
    from dcd_deploy.files import existing_file
    from dcd_deploy.runtimes.isolated import Isolated

    with Isolated(existing_file(path, "a model file")) as other:
        return other.call(summarise, path)


def _inspect_captured(path: Path, progress: Progress, network: NetworkOptions) -> CheckpointSummary:
    """Count a network that has to be captured for it: a user's own, or one with submodules that are kept whole."""
    from dcd_deploy.export.summary import summarise_captured
    from dcd_deploy.models.inspection import described

    found = trained_network(path, progress=progress, **network)
    return described(found.checkpoint, summarise_captured(found.captured(progress), found.title), found.assumed)


def predict(model: StrPath, image: StrPath, *, top: int = 5) -> list[Prediction]:
    """Return the likeliest classes of a picture file, the likeliest first."""
    from dcd_deploy.runtimes.isolated import isolated_model
    from dcd_deploy.runtimes.pictures import read_picture

    top = parse_count("--top", top, LARGEST_SIZE)
    with isolated_model(model) as opened:
        return opened.predict(read_picture(image), top)
