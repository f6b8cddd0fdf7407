"""Results of a few lines: predictions, a bundle for an app, the settings of a command."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from dcd_deploy.bundle.folder import Bundle
from dcd_deploy.config import Setting
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports.terminal import line, show_table
from dcd_deploy.runtimes import Prediction


def show_predictions(screen: Console, predictions: Sequence[Prediction]) -> None:
    """Print the classes, the likeliest first."""
    rows = [(p.label, str(p.index), numbers.percent(p.probability)) for p in predictions]
    show_table(screen, "", ("label", "class", "probability"), rows)


def show_bundle(screen: Console, bundle: Bundle) -> None:
    """Print where it is, what is in it and how to start it."""
    line(screen, f"{bundle.folder}: {len(bundle.files)} files for {bundle.platform}, {numbers.size(bundle.size_bytes)}")
    line(screen, f"next: cd {bundle.folder} && {bundle.start}")


def show_settings(screen: Console, settings: Sequence[Setting]) -> None:
    """Print each option, its value and its source, a line each however long: a path is to be read whole."""
    rows = [(found.option, "" if found.value is None else str(found.value), found.source) for found in settings]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    for option, value, source in rows:
        screen.print(f"{option:{first}}  {value:{second}}  {source}".rstrip(), soft_wrap=True, highlight=False)
