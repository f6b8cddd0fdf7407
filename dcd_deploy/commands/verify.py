"""Whether a model file computes what was trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, Unpack

from dcd_deploy.commands.arguments import Reference, Samples, Tolerance, emulated_core
from dcd_deploy.commands.network import as_in_file, made_as, trained_network
from dcd_deploy.commands.network_options import WeightOptions
from dcd_deploy.commands.options import Argument, Option, StrPath
from dcd_deploy.commands.values import parse_tolerance
from dcd_deploy.optional import require
from dcd_deploy.progress import Progress, silent

if TYPE_CHECKING:
    from dcd_deploy.emulation.cores import Core
    from dcd_deploy.export.verify import VerificationReport
    from dcd_deploy.runtimes import Model, SelfCheck

Result = TypeVar("Result", "VerificationReport", "SelfCheck")


def verify(
    artifact: Annotated[StrPath, Argument("Model file that dcd-deploy exported.")],
    *,
    checkpoint: Annotated[
        StrPath | None, Option("Check against this checkpoint in float64; without it, the file checks itself.")
    ] = None,
    device: Annotated[
        str | None, Option("Run it on an emulated ARM core: arm64-emulated[:CORE].", default="here")
    ] = None,
    tolerance: Tolerance = None,
    samples: Samples = None,
    reference: Reference = None,
    progress: Progress = silent,
    **network: Unpack[WeightOptions],
) -> VerificationReport | SelfCheck:
    """Check that a model file computes what was trained.

    It runs here or on ``device``, an emulated ARM core. With ``checkpoint``, against its float64 train form, as at the
    export. Without, against the few reference outputs that the file carries, which needs no torch. With ``reference``,
    an .npz file of what your own network answered (``dcd_deploy.record_reference``), against that too, and without a
    checkpoint against that alone. The ``tolerance`` is 5e-5, or the file's own if that is stricter. ``network`` says
    which network the checkpoint holds (``commands.network``); what it leaves open is as when the file was made.

    Raises:
        VerificationError: it does not.
        DeviceError: emulation is not set up, or ended in the middle.
    """
    tolerance = None if tolerance is None else parse_tolerance(tolerance)
    core = None if device is None else emulated_core(device)
    with _opened(Path(artifact), core, progress) as model:
        recorded = None if reference is None else Path(reference)
        if checkpoint is None and recorded is not None:
            from dcd_deploy.export.recorded import verify_against_recorded

            stage = f"model file{_on(core)}"
            report = verify_against_recorded(model, recorded, tolerance=tolerance, stage=stage, progress=progress)
            return _with_remarks(report, Path(artifact))
        if checkpoint is None:
            from dcd_deploy.runtimes import self_check

            with progress(f"self-check{_on(core)}"):
                return _with_remarks(self_check(model).checked(tolerance), Path(artifact))
        require("torch")
        card = model.described()
        from dcd_deploy.export.recheck import verify_against_network

        found = trained_network(checkpoint, made_as=made_as(card), progress=progress, **as_in_file(card, network))
        report = verify_against_network(
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
        return _with_remarks(report, Path(artifact))


def _with_remarks(result: Result, artifact: Path) -> Result:
    """Return a result that also says where the file is not the one that was exported."""
    from dcd_deploy.runtimes.sidecar import remarks_on_sidecar

    return replace(result, notes=(*remarks_on_sidecar(artifact), *result.notes))


@contextmanager
def _opened(artifact: Path, core: Core | None, progress: Progress) -> Iterator[Model]:
    """Yield a model file opened here, or on an emulated core."""
    if core is None:
        from dcd_deploy.runtimes.isolated import isolated_model

        with isolated_model(artifact) as model:
            yield model
        return
    from dcd_deploy.emulation.session import emulated_model

    with emulated_model(artifact, core, progress=progress) as model:
        yield model


def _on(core: Core | None) -> str:
    return "" if core is None else f" on emulated {core.name}"
