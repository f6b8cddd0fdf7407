"""The commands about which form each layer gets: ``tune`` and ``costs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dcd_deploy import commands
from dcd_deploy.cli.options import (
    AsJson,
    Ema,
    InputShape,
    InputSize,
    Network,
    NetworkArgs,
    Quiet,
    Target,
    Threads,
    chosen_progress,
)
from dcd_deploy.cli.outcome import answer


def tune(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of the network to tune.")],
    target: Target,
    out: Annotated[Path | None, typer.Option(help="Lowering file to write, for 'export --lowering'.")] = None,
    device: Annotated[str, typer.Option(help="Where to measure: local, ssh://[user@]host, …")] = "local",
    ema: Ema = False,
    input_size: InputSize = "224",
    network: Network = None,
    network_args: NetworkArgs = None,
    input_shape: InputShape = None,
    threads: Threads = 1,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Choose the order of computation of each layer by measuring on a device."""

    def run() -> Any:
        return commands.tune(
            checkpoint,
            target=target,
            out=out,
            device=device,
            ema=ema,
            input_size=input_size,
            network=network,
            network_args=network_args,
            input_shape=input_shape,
            threads=threads,
            progress=chosen_progress(quiet),
        )

    def show(result: Any) -> None:
        from dcd_deploy.reports.terminal import console
        from dcd_deploy.reports.tuning import show_tuning

        written = None if out is None else str(out)
        show_tuning(console(), result, str(checkpoint), written, network, network_args)

    answer(run, show, as_json=as_json, quiet=quiet)


def costs(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of the network.")],
    target: Target,
    ema: Ema = False,
    input_size: InputSize = "224",
    network: Network = None,
    network_args: NetworkArgs = None,
    input_shape: InputShape = None,
    as_json: AsJson = False,
) -> None:
    """Say what each form of each layer costs on a target, before anything is exported."""

    def run() -> Any:
        return commands.costs(
            checkpoint,
            target=target,
            ema=ema,
            input_size=input_size,
            network=network,
            network_args=network_args,
            input_shape=input_shape,
        )

    def show(result: Any) -> None:
        from dcd_deploy.reports.forecasting import show_forecast
        from dcd_deploy.reports.terminal import console

        show_forecast(console(), result)

    answer(run, show, as_json=as_json)
