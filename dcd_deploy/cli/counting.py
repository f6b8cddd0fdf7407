"""What emulated cores count, shown by layer for ``profile``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dcd_deploy import commands
from dcd_deploy.cli.options import chosen_progress
from dcd_deploy.cli.outcome import answer


def answer_layer_counts(model: Path, device: str, *, as_json: bool, quiet: bool) -> None:
    """Count by layer, and show it."""

    def run() -> Any:
        return commands.count_layers(model, device=device, progress=chosen_progress(quiet))

    def show(result: Any) -> None:
        from dcd_deploy.reports.counting import show_layer_counts
        from dcd_deploy.reports.terminal import console

        show_layer_counts(console(), result)

    def plain(result: Any) -> Any:
        from dcd_deploy.reports.counting import layer_counts_as_plain

        return layer_counts_as_plain(result)

    answer(run, show, plain=plain, as_json=as_json, quiet=quiet)
