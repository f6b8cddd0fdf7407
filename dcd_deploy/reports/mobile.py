"""How ``inspect --mobile`` reads: a row for each accelerator, and below what divides the network for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports.terminal import line, show_table

if TYPE_CHECKING:
    from dcd_deploy.export.accelerators import Accelerator, MobileSummary


def show_mobile(screen: Console, summary: MobileSummary) -> None:
    """Print what each accelerator takes of a file, in how many partitions, and what it leaves."""
    line(screen, f"{summary.path}: what a phone's accelerators take")
    line(screen)
    columns = ("accelerator", "by the rules of", "nodes", "taken", "partitions")
    show_table(screen, "", columns, map(_row, summary.accelerators), left=2)
    left = [row for each in summary.accelerators for row in _left(each)]
    if left:
        columns = ("left by", "operator", "reason", "first layers", "nodes")
        show_table(screen, "what divides it", columns, left, left=4)
    for each in summary.accelerators:
        for condition in each.unchecked:
            line(screen, f"not checked for {each.name}: {condition}")
    line(screen, summary.note)


def _row(found: Accelerator) -> tuple[str, ...]:
    share = f"{found.taken} ({numbers.percent(found.taken / found.nodes)})" if found.nodes else "0"
    return found.name, found.rules, str(found.nodes), share, str(found.partitions)


def _left(found: Accelerator) -> list[tuple[str, ...]]:
    return [
        (found.name, each.operator, each.reason, ", ".join(each.layers), str(each.nodes)) for each in found.breakers
    ]
