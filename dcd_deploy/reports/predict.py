"""How predictions read."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports.terminal import show_table
from dcd_deploy.runtimes import Prediction


def show_predictions(screen: Console, predictions: Sequence[Prediction]) -> None:
    """Print the classes, the likeliest first."""
    rows = [(p.label, str(p.index), numbers.percent(p.probability)) for p in predictions]
    show_table(screen, "", ("label", "class", "probability"), rows)
