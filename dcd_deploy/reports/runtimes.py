"""How a model in every runtime reads: on a terminal, as Markdown, CSV and HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from dcd_deploy.benchmarks.runtime_results import MISSING, WRONG, PairTimes, RuntimeRow, RuntimesResult
from dcd_deploy.benchmarks.statistics import CONFIDENCE
from dcd_deploy.reports import json as machine
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports.html.page import tables_page
from dcd_deploy.reports.markdown import table as markdown_table
from dcd_deploy.reports.markdown import text as markdown_text
from dcd_deploy.reports.table import csv_text
from dcd_deploy.reports.terminal import line, show_table

LISTED = ("runtime", "version", "", "in")
TRIED = ("runtime", "version", "", "error", "left out", "CPU", "static", "ratio", "wall")
CSV = (
    *("runtime", "version", "status", "failure", "relative_error", "left_out", "open_s"),
    *(
        f"{clock}_{name}"
        for clock in ("cpu", "wall")
        for name in ("ms", "static_ms", "ratio", "ratio_low", "ratio_high")
    ),
)


def show_runtimes(screen: Console, result: RuntimesResult) -> None:
    """Print the table, what failed, and which runtime is the quickest."""
    show_table(screen, headline(result), columns(result), table_rows(result), left=text_columns(result))
    for text in lines(result):
        line(screen, text)


def headline(result: RuntimesResult) -> str:
    """Return what the table is of."""
    return "Runtimes" if result.model is None else f"{result.model} in every runtime"


def columns(result: RuntimesResult) -> Sequence[str]:
    """Return the heads of the columns."""
    return LISTED if result.model is None else TRIED


def text_columns(result: RuntimesResult) -> int:
    """Return how many columns are texts; the others are numbers."""
    return 3 if result.model else 4


def table_rows(result: RuntimesResult) -> list[list[str]]:
    """Return the cells of each runtime that is installed."""
    installed = [row for row in result.rows if row.status != MISSING]
    if result.model is None:
        return [[row.runtime, row.version or "", row.status, row.place] for row in installed]
    return [_cells(row) for row in installed]


def _cells(row: RuntimeRow) -> list[str]:
    error = "" if row.relative_error is None else numbers.error(row.relative_error)
    cpu = ["", "", ""] if row.cpu is None else _times(row.cpu)
    wall = ["", "", ""] if row.wall is None else _times(row.wall)
    status = row.status.upper() if row.status == WRONG else row.status
    return [row.runtime, row.version or "", status, error, _left_out(row), *cpu, wall[0]]


def lines(result: RuntimesResult) -> list[str]:
    """Return what is said below the table."""
    said = [f"! {row.runtime}: {row.failure}" for row in result.rows if row.failure and row.status != MISSING]
    said += [f"! {row.runtime} {row.version}: {row.remark}" for row in result.rows if row.remark]
    said += [f"{row.runtime} is not installed: {row.failure}" for row in result.rows if row.status == MISSING]
    said += [f"! {result.remark}"] if result.remark else []
    return said if result.model is None else [*said, *_quickest(result), *_method(result)]


def _quickest(result: RuntimesResult) -> list[str]:
    quickest = result.quickest
    if quickest is None or quickest.cpu is None:
        return []
    return [f"The quickest that is right here: {quickest.runtime}, {numbers.milliseconds(quickest.cpu.model_ms)}."]


def _method(result: RuntimesResult) -> list[str]:
    """Return how it was measured, and where."""
    beside = "" if result.baseline is None else f" and its {result.baseline}, interleaved"
    where = result.environment
    load = "" if where.load is None else f", load {where.load:.1f} at the start"
    error = (
        f"Error: the largest on {result.samples} samples against the float64 reference, over the outputs' range; the "
        f"limit is {result.tolerance:.0e}. Left out: operators beside the runtime's usual kernels; –: it takes a file "
        "whole or refuses it."
    )
    times = (
        f"Times: medians of {result.blocks} blocks of six runs, {result.threads} thread{'s' * (result.threads > 1)}, "
        f"the file{beside} in one process; ratios with the {CONFIDENCE:.0%} interval of the median. CPU is processor "
        "time of all threads."
    )
    return [error, times, f"{where.cpu}, {where.cores} cores{load}, {where.date}."]


def runtimes_markdown(result: RuntimesResult) -> str:
    """Return the result as Markdown."""
    table = markdown_table(columns(result), table_rows(result), left=text_columns(result))
    said = "\n".join(f"* {markdown_text(numbers.spelled(text))}" for text in lines(result))
    return f"# {markdown_text(headline(result))}\n\n{table}\n\n{said}\n"


def runtimes_csv(result: RuntimesResult) -> str:
    """Return a row for each runtime; an empty cell where there is nothing."""
    rows = (
        [
            *(row.runtime, row.version, row.status, row.failure, row.relative_error),
            *(None if row.left_out is None else " ".join(row.left_out), row.open_s),
            *_csv_times(row.cpu),
            *_csv_times(row.wall),
        ]
        for row in result.rows
    )
    return csv_text(CSV, rows)


def runtimes_page(result: RuntimesResult) -> str:
    """Return the result as one HTML file, which needs no network."""
    table = (columns(result), table_rows(result), text_columns(result))
    return tables_page(headline(result), [table], list(map(numbers.spelled, lines(result))))


FORMS: dict[str, Callable[[RuntimesResult], str]] = {
    ".json": machine.to_json,
    ".html": runtimes_page,
    ".md": runtimes_markdown,
    ".csv": runtimes_csv,
}


def _left_out(row: RuntimeRow) -> str:
    if row.left_out is None:
        return "–" if row.relative_error is not None else ""
    parts = "" if row.partitions in (None, 1) else f", {row.partitions} partitions"
    return ("none" if not row.left_out else f"{len(row.left_out)}: {', '.join(row.left_out[:3])}") + parts


def _times(times: PairTimes) -> list[str]:
    static = "" if times.static_ms is None else numbers.milliseconds(times.static_ms)
    r = times.ratio
    between = "" if r is None else f"{r.median:.2f} ({r.low:.2f}–{r.high:.2f})"
    return [numbers.milliseconds(times.model_ms), static, between]


def _csv_times(times: PairTimes | None) -> list[float | None]:
    if times is None:
        return [None] * 5
    r = times.ratio
    return [times.model_ms, times.static_ms, *([None] * 3 if r is None else [r.median, r.low, r.high])]
