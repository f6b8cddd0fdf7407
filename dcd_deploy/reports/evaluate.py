"""How an evaluation reads: on a terminal, as Markdown, CSV, HTML and a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from dcd_deploy.evaluation.intervals import Proportion
from dcd_deploy.evaluation.results import Evaluated, EvaluationResult
from dcd_deploy.reports import json as machine
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports.front import front, front_svg
from dcd_deploy.reports.html.page import tables_page
from dcd_deploy.reports.markdown import table as markdown_table
from dcd_deploy.reports.markdown import text as markdown_text
from dcd_deploy.reports.table import Cell, csv_text
from dcd_deploy.reports.terminal import line, show_table

ACCURACY = ("model", "runtime", "top-1", "top-5", "mean latency", "size", "front")
BESIDE = ("beside the network", "agreement", "changed decisions", "lost", "gained", "top-1 difference", "signal/noise")
CSV = (
    *("name", "role", "runtime", "version", "sha256", "size_bytes", "images", "latency_ms", "front"),
    *("calibration_images", "lost", "gained", "snr_db"),
    *("top1_difference", "top1_difference_low", "top1_difference_high"),
    *(f"{name}{end}" for name in ("top1", "top5", "agreement", "changed") for end in ("", "_share", "_low", "_high")),
)
Table = tuple[Sequence[str], list[list[str]], int]


def show_evaluation(screen: Console, result: EvaluationResult) -> None:
    """Print the tables, what speaks against the numbers, and how they were made."""
    line(screen, f"{headline(result)}.")
    line(screen)
    for columns, rows, left in tables(result):
        show_table(screen, "", columns, rows, left=left)
    for text in lines(result):
        line(screen, text)


def headline(result: EvaluationResult) -> str:
    """Return what was evaluated."""
    part = f", shard {result.shard}" if result.shard else ""
    return f"{result.images} images of {result.present} classes in '{result.source}'{part}"


def tables(result: EvaluationResult) -> list[Table]:
    """Return the columns, the rows and the number of text columns of each table."""
    found: list[Table] = [(ACCURACY, [_accuracy(each) for each in result.models], 2)]
    if paired := [_beside(each) for each in result.models if each.changed is not None]:
        found.append((BESIDE, paired, 1))
    return found


def lines(result: EvaluationResult) -> list[str]:
    """Return what is said below the tables."""
    said = [f"! {text}" for text in result.warnings]
    said.append(
        f"In brackets {100 * result.confidence:.0f} % intervals: Wilson's, of the difference Newcombe's for pairs. "
        "Latency: the mean over single images with one thread, while the other workers work too; bench times better."
    )
    places = "; ".join(result.machines)
    return [*said, f"On {places}." if len(result.machines) == 1 else f"On {len(result.machines)} machines: {places}."]


def _accuracy(each: Evaluated) -> list[str]:
    latency = "" if each.latency_ms is None else numbers.milliseconds(each.latency_ms)
    runtime = f"{each.runtime} {each.version}".strip()
    top5 = "" if each.top5 is None else _share(each.top5)
    return [each.name, runtime, _share(each.top1), top5, latency, numbers.size(each.size_bytes), "*" * each.front]


def _beside(each: Evaluated) -> list[str]:
    assert each.agreement is not None
    assert each.changed is not None
    assert each.top1_difference is not None
    d = each.top1_difference
    between = f"{100 * d.value:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})"
    noise = "" if each.snr_db is None else f"{each.snr_db:.1f} dB"
    changed = f"{each.changed.count}: {_share(each.changed)}"
    return [each.name, numbers.percent(each.agreement.share), changed, f"{each.lost}", f"{each.gained}", between, noise]


def _share(p: Proportion) -> str:
    return f"{numbers.percent(p.share)} ({100 * p.low:.1f}–{100 * p.high:.1f})"


def evaluation_markdown(result: EvaluationResult) -> str:
    """Return the result as Markdown."""
    made = "\n\n".join(markdown_table(columns, rows, left=left) for columns, rows, left in tables(result))
    said = "\n".join(f"* {markdown_text(numbers.spelled(text))}" for text in lines(result))
    return f"# {markdown_text(headline(result))}\n\n{made}\n\n{said}\n"


def evaluation_csv(result: EvaluationResult) -> str:
    """Return a row for each model; an empty cell where there is nothing."""
    return csv_text(CSV, [_csv_row(result, each) for each in result.models])


def _csv_row(result: EvaluationResult, each: Evaluated) -> list[Cell]:
    d = each.top1_difference
    row: list[Cell] = [each.name, each.role, each.runtime, each.version, each.sha256, each.size_bytes, result.images]
    row += [each.latency_ms, int(each.front), each.calibration_images, each.lost, each.gained, each.snr_db]
    row += [None] * 3 if d is None else [d.value, d.low, d.high]
    for p in (each.top1, each.top5, each.agreement, each.changed):
        row += [None] * 4 if p is None else [p.count, p.share, p.low, p.high]
    return row


def evaluation_page(result: EvaluationResult) -> str:
    """Return the result as one HTML file, which needs no network."""
    return tables_page(headline(result), tables(result), list(map(numbers.spelled, lines(result))), front(result))


FORMS: dict[str, Callable[[EvaluationResult], str]] = {
    ".json": machine.to_json,
    ".html": evaluation_page,
    ".md": evaluation_markdown,
    ".csv": evaluation_csv,
    ".svg": front_svg,
}
