"""The commands about results that were saved: ``compare`` and ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dcd_deploy import commands
from dcd_deploy.cli.options import AsJson, Save
from dcd_deploy.cli.outcome import answer
from dcd_deploy.cli.saving import answer_bench


def compare(
    before: Annotated[Path, typer.Argument(readable=False, help="Result that 'bench --save FILE.json' wrote.")],
    after: Annotated[Path, typer.Argument(readable=False, help="Another one.")],
    different_environments: Annotated[
        bool, typer.Option("--different-environments", help="Compare across machines, versions or settings.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare two results of one machine."""

    def run() -> Any:
        return commands.compare(before, after, different_environments=different_environments)

    def show(result: Any) -> None:
        from dcd_deploy.reports.comparing import show_comparison
        from dcd_deploy.reports.terminal import console

        show_comparison(console(), result)

    answer(run, show, as_json=as_json)


def report(
    result: Annotated[
        Path, typer.Argument(readable=False, help="Result that 'bench --save FILE.json' or 'sweep' wrote.")
    ],
    profile: Annotated[
        list[Path] | None,
        typer.Option(readable=False, help="What 'profile --json' printed, for the page; may be several."),
    ] = None,
    save: Save = None,
    as_json: AsJson = False,
) -> None:
    """Show a result that was saved, or write it as a page, Markdown or CSV."""

    def run() -> Any:
        from dcd_deploy.benchmarks.results_file import read_result

        return read_result(result)

    answer_bench(run, save, profile, as_json=as_json, quiet=False)
