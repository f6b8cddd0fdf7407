"""The commands about one file: ``verify``, ``inspect`` and ``predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dcd_deploy import commands
from dcd_deploy.cli.options import (
    AsJson,
    BnEps,
    Drop,
    Ema,
    Gate,
    InputSize,
    LastStride,
    Prefix,
    Quiet,
    Reference,
    ResidualQ,
    Samples,
    StemPool,
    StemStride,
    Strides,
    Tolerance,
    chosen_progress,
)
from dcd_deploy.cli.outcome import answer


def verify(
    artifact: Annotated[Path, typer.Argument(help="Model file that dcd-deploy exported.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Check against this checkpoint in float64; without it, the file checks itself.")
    ] = None,
    ema: Ema = False,
    tolerance: Tolerance = None,
    samples: Samples = None,
    reference: Reference = None,
    device: Annotated[
        str | None, typer.Option(help="Run it on an emulated ARM core: arm64-emulated[:CORE]. [default: here]")
    ] = None,
    prefix: Prefix = None,
    drop: Drop = None,
    bn_eps: BnEps = None,
    gate: Gate = None,
    residual_q: ResidualQ = None,
    strides: Strides = None,
    stem_stride: StemStride = None,
    last_stride: LastStride = None,
    stem_pool: StemPool = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check that a model file computes what was trained."""

    def run() -> Any:
        return commands.verify(
            artifact,
            checkpoint=checkpoint,
            ema=ema,
            tolerance=tolerance,
            samples=samples,
            reference=reference,
            device=device,
            prefix=prefix,
            drop=drop or (),
            bn_eps=bn_eps,
            gate=gate,
            residual_q=residual_q,
            strides=strides,
            stem_stride=stem_stride,
            last_stride=last_stride,
            stem_pool=stem_pool,
            progress=chosen_progress(quiet),
        )

    def show(result: Any) -> None:
        from dcd_deploy.reports.terminal import console
        from dcd_deploy.reports.verification import show_check

        show_check(console(), result)

    answer(run, show, as_json=as_json, quiet=quiet)


def inspect(
    file: Annotated[Path, typer.Argument(help="Checkpoint or model file.")],
    ema: Ema = False,
    input_size: InputSize = "224",
    prefix: Prefix = None,
    drop: Drop = None,
    bn_eps: BnEps = None,
    gate: Gate = None,
    residual_q: ResidualQ = None,
    strides: Strides = None,
    stem_stride: StemStride = None,
    last_stride: LastStride = None,
    stem_pool: StemPool = None,
    as_json: AsJson = False,
) -> None:
    """Say what a checkpoint or a model file holds."""

    def run() -> Any:
        return commands.inspect(
            file,
            ema=ema,
            input_size=input_size,
            prefix=prefix,
            drop=drop or (),
            bn_eps=bn_eps,
            gate=gate,
            residual_q=residual_q,
            strides=strides,
            stem_stride=stem_stride,
            last_stride=last_stride,
            stem_pool=stem_pool,
        )

    def show(result: Any) -> None:
        from dcd_deploy.reports.inspecting import show_inspection
        from dcd_deploy.reports.terminal import console

        show_inspection(console(), result)

    answer(run, show, as_json=as_json, keys_shown=None)


def predict(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    image: Annotated[Path, typer.Argument(help="Picture file.")],
    top: Annotated[int, typer.Option(help="How many classes to print.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Print the likeliest classes of a picture."""

    def run() -> Any:
        return commands.predict(model, image, top=top)

    def show(result: Any) -> None:
        from dcd_deploy.reports.predicting import show_predictions
        from dcd_deploy.reports.terminal import console

        show_predictions(console(), result)

    answer(run, show, as_json=as_json)
