"""How the comparison of two results reads."""

from __future__ import annotations

from rich.console import Console

from dcd_deploy.benchmarks.comparing import Change, ResultComparison
from dcd_deploy.benchmarks.place import LOCAL
from dcd_deploy.benchmarks.statistics import Ratio
from dcd_deploy.reports import numbers
from dcd_deploy.reports.terminal import line, show_table

COLUMNS = ("", "runtime", "threads", "batch", "before", "after", "after / before", "ratio before", "ratio after")


def show_comparison(screen: Console, comparison: ResultComparison) -> None:
    """Print each model's times before and after, and its ratios to the baseline, which no drift can move."""
    device = any(change.device != LOCAL for change in comparison.changes)
    rows = ((change.device,) * device + _row(change) for change in comparison.changes)
    show_table(screen, "", ("device",) * device + COLUMNS, rows, left=2 + device)
    line(screen, "Times of two runs have the machine's mood in them; the ratios, measured in turns, do not.")
    for difference in comparison.differences:
        line(screen, f"! the results differ in {difference}")


def _row(c: Change) -> tuple[str, ...]:
    times = (numbers.milliseconds(c.before_ms), numbers.milliseconds(c.after_ms))
    change = f"{c.change.median:.3f} ({c.change.low:.2f}–{c.change.high:.2f})"
    return (
        c.name,
        c.runtime,
        str(c.threads),
        str(c.batch),
        *times,
        change,
        _ratio(c.ratio_before),
        _ratio(c.ratio_after),
    )


def _ratio(ratio: Ratio | None) -> str:
    return "" if ratio is None else f"{ratio.median:.3f}"
