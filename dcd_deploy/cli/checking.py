"""The commands about one file: ``verify``, ``inspect`` and ``predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dcd_deploy import commands
from dcd_deploy.cli.network_options import with_network_options
from dcd_deploy.cli.options import (
    AsJson,
    Quiet,
    Reference,
    Samples,
    Tolerance,
    chosen_progress,
)
from dcd_deploy.cli.outcome import answer


@with_network_options(without=("input_shape", "input_size"))
def verify(
    artifact: Annotated[Path, typer.Argument(readable=False, help="Model file that dcd-deploy exported.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            readable=False, help="Check against this checkpoint in float64; without it, the file checks itself."
        ),
    ] = None,
    tolerance: Tolerance = None,
    samples: Samples = None,
    reference: Reference = None,
    device: Annotated[
        str | None, typer.Option(help="Run it on an emulated ARM core: arm64-emulated[:CORE]. [default: here]")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    **network: Any,
) -> None:
    """Check that a model file computes what was trained."""

    def run() -> Any:
        return commands.verify(
            artifact,
            checkpoint=checkpoint,
            tolerance=tolerance,
            samples=samples,
            reference=reference,
            device=device,
            progress=chosen_progress(quiet),
            **network,
        )

    def show(result: Any) -> None:
        from dcd_deploy.reports.terminal import console
        from dcd_deploy.reports.verification import show_check

        show_check(console(), result)

    answer(run, show, as_json=as_json, quiet=quiet)


@with_network_options
def inspect(
    file: Annotated[Path, typer.Argument(readable=False, help="Checkpoint or model file.")],
    as_json: AsJson = False,
    **network: Any,
) -> None:
    """Say what a checkpoint or a model file holds."""

    def run() -> Any:
        return commands.inspect(
            file,
            **network,
        )

    def show(result: Any) -> None:
        from dcd_deploy.reports.inspecting import show_inspection
        from dcd_deploy.reports.terminal import console

        show_inspection(console(), result)

    answer(run, show, as_json=as_json, keys_shown=None)


def predict(
    model: Annotated[Path, typer.Argument(readable=False, help="Model file.")],
    image: Annotated[Path, typer.Argument(readable=False, help="Picture file.")],
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
