"""How the comparison of two results reads."""

from __future__ import annotations

from rich.console import Console

from dcd_deploy.benchmarks.compare import Change, CountChange, ResultComparison
from dcd_deploy.benchmarks.process import LOCAL
from dcd_deploy.benchmarks.statistics import Ratio
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports.counts import core_name, ratio
from dcd_deploy.reports.terminal import line, show_table

COLUMNS = ("", "runtime", "threads", "batch", "before", "after", "after / before", "ratio before", "ratio after")
COUNTS = "counts, after / before; traffic is that beyond the modelled L2"
COUNT_COLUMNS = ("core", "", "runtime", "batch", "instructions", "after", "ratio", "traffic", "after", "ratio")


def show_comparison(screen: Console, comparison: ResultComparison) -> None:
    """Print each model's times before and after, and its ratios to the baseline, which no drift can move."""
    if comparison.changes:
        device = any(change.device != LOCAL for change in comparison.changes)
        rows = ((change.device,) * device + _row(change) for change in comparison.changes)
        show_table(screen, "", ("device",) * device + COLUMNS, rows, left=2 + device)
        line(
            screen,
            "Times of two runs have the machine's mood in them; ratios have not, while nothing else wants the core.",
        )
    if comparison.counts:
        show_table(screen, COUNTS, COUNT_COLUMNS, map(_count_row, comparison.counts), left=3)
        line(screen, "Counts repeat to 0.001 of themselves, and to less in large networks; none of them is a time.")
    if comparison.remark is not None:
        line(screen, f"! {comparison.remark}")
    for difference in comparison.differences:
        line(screen, f"! the results differ in {difference}")


def _count_row(c: CountChange) -> tuple[str, ...]:
    instructions = (numbers.count(c.before_instructions), numbers.count(c.after_instructions))
    traffic = (numbers.size(c.before_traffic_bytes), numbers.size(c.after_traffic_bytes))
    changes = (ratio(c.change.instructions), ratio(c.change.traffic_bytes))
    return (
        core_name(c.device, c.core),
        c.name,
        c.runtime,
        str(c.batch),
        *instructions,
        changes[0],
        *traffic,
        changes[1],
    )


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


def _ratio(found: Ratio | None) -> str:
    return "" if found is None else f"{found.median:.3f}"
