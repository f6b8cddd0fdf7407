"""The command ``profile``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dcd_deploy import commands
from dcd_deploy.cli.counting import answer_layer_counts
from dcd_deploy.cli.options import AsJson, Quiet, Threads, chosen_progress
from dcd_deploy.cli.outcome import answer


def profile(
    model: Annotated[Path, typer.Argument(readable=False, help="Model file.")],
    threads: Threads = 1,
    runs: Annotated[int, typer.Option(help="Runs to take the median of.")] = 30,
    by: Annotated[str, typer.Option(help="Table to print: layer, operator or type.")] = "layer",
    csv: Annotated[Path | None, typer.Option(readable=False, help="File to write a row for each node into.")] = None,
    device: Annotated[
        str | None, typer.Option(help="arm64-emulated[:CORE]: instructions and traffic by layer instead of times.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say where the time goes: by layer, and static part against dynamic."""
    if device is not None:
        answer_layer_counts(model, device, as_json=as_json, quiet=quiet)
        return

    def run() -> Any:
        commands.check_table(by)
        return commands.profile(model, threads=threads, runs=runs, csv=csv, progress=chosen_progress(quiet))

    def show(result: Any) -> None:
        from dcd_deploy.reports.profiling import show_profile
        from dcd_deploy.reports.terminal import console

        show_profile(console(), result, by)

    def plain(result: Any) -> Any:
        from dcd_deploy.reports.profiling import profile_as_plain

        return profile_as_plain(result)

    answer(run, show, plain=plain, as_json=as_json, quiet=quiet)
