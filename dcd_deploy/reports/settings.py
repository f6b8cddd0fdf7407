"""How the options of a command read, with where each comes from."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from dcd_deploy.config import Setting
from dcd_deploy.reports.terminal import show_table


def show_settings(screen: Console, settings: Sequence[Setting]) -> None:
    """Print each option, its value and its source."""
    rows = [(found.option, "" if found.value is None else str(found.value), found.source) for found in settings]
    show_table(screen, "", ("option", "value", "from"), rows, left=3)
