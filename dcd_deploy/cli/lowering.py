"""The commands about which lowering each layer gets: ``tune`` and ``costs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dcd_deploy import commands
from dcd_deploy.cli.network_options import with_network_options
from dcd_deploy.cli.options import (
    AsJson,
    Quiet,
    Target,
    Threads,
    chosen_progress,
)
from dcd_deploy.cli.outcome import answer


@with_network_options
def tune(
    checkpoint: Annotated[Path, typer.Argument(readable=False, help="Checkpoint of the network to tune.")],
    target: Target,
    out: Annotated[
        Path | None, typer.Option(readable=False, help="Lowering file to write, for 'export --lowering'.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to measure: local, ssh://[user@]host, …")] = "local",
    threads: Threads = 1,
    as_json: AsJson = False,
    quiet: Quiet = False,
    **network: Any,
) -> None:
    """Choose the order of computation of each layer by measuring on a device."""

    def run() -> Any:
        return commands.tune(
            checkpoint,
            target=target,
            out=out,
            device=device,
            threads=threads,
            progress=chosen_progress(quiet),
            **network,
        )

    def show(result: Any) -> None:
        from dcd_deploy.reports.terminal import console
        from dcd_deploy.reports.tuning import show_tuning

        written = None if out is None else str(out)
        show_tuning(console(), result, str(checkpoint), written, network)

    answer(run, show, as_json=as_json, quiet=quiet)


@with_network_options
def costs(
    checkpoint: Annotated[Path, typer.Argument(readable=False, help="Checkpoint of the network.")],
    target: Target,
    as_json: AsJson = False,
    **network: Any,
) -> None:
    """Say what each lowering of each layer costs on a target, before anything is exported."""

    def run() -> Any:
        return commands.costs(
            checkpoint,
            target=target,
            **network,
        )

    def show(result: Any) -> None:
        from dcd_deploy.reports.forecasting import show_forecast
        from dcd_deploy.reports.terminal import console

        show_forecast(console(), result)

    answer(run, show, as_json=as_json)
