"""How the options of a command read, with where each comes from."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from dcd_deploy.config import Setting


def show_settings(screen: Console, settings: Sequence[Setting]) -> None:
    """Print each option, its value and its source, a line each however long: a path is to be read whole."""
    rows = [(found.option, "" if found.value is None else str(found.value), found.source) for found in settings]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    for option, value, source in rows:
        screen.print(f"{option:{first}}  {value:{second}}  {source}".rstrip(), soft_wrap=True, highlight=False)
