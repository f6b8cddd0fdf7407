"""How a benchmark reads as Markdown (GitHub's), for a README, an issue or a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dcd_deploy.benchmarks.counts import CountSection
from dcd_deploy.benchmarks.results import BenchResult, Trial
from dcd_deploy.reports import counts as counts_wording
from dcd_deploy.reports import wording
from dcd_deploy.reports.terminal import plain

SPECIAL = re.compile(r"[\\`*_{}\[\]<>|~@&#$:!]")  # what could start markup, a link, a mention or a formula


def bench_markdown(result: BenchResult) -> str:
    """Return the document: headline, summary of several trials, each trial, what failed, and the machine."""
    parts = [f"# {text(wording.headline(result))}"]
    if len(result.trials) > 1:
        parts.append(summary_table(result))
    parts += [part for trial in result.trials for part in _trial(result, trial)]
    if result.counts and result.counts.trials:
        parts += _counts(result.counts)
    if result.failures:
        parts += ["## Not measured", *(f"* {text(wording.failure_line(failure))}" for failure in result.failures)]
    if result.trials or not result.counts:
        parts += ["## How it was measured", f"Measured {text(wording.config_line(result.config))}."]
        parts += map(text, wording.environment_lines(result))
    return "\n\n".join(parts) + "\n"


def summary_table(result: BenchResult) -> str:
    """Return one table with a row for each trial."""
    columns = wording.summary_columns(result)
    return table(columns, wording.summary_rows(result), left=columns.index("threads"))


def table(columns: Sequence[str], rows: Iterable[Iterable[str]], *, left: int = 1) -> str:
    """Return a table whose first ``left`` columns are texts and whose others are numbers."""
    rules = ["---" if i < left else "--:" for i in range(len(columns))]
    lines = [[text(column) for column in columns], rules, *([text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def text(content: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    return SPECIAL.sub(lambda found: "\\" + found[0], plain(content))


def _counts(section: CountSection) -> list[str]:
    """Return a table for each model and core, and what the counts rest on."""
    parts = [f"## {counts_wording.HEADING}"]
    if len(section.trials) > 1:
        parts += [f"{text(counts_wording.SUMMARY)}:", table(*counts_wording.across_cores(section), left=2)]
    for trial in section.trials:
        parts.append(
            f"### {text(counts_wording.network_name(trial.models[0]))}, {text(counts_wording.count_title(trial))}"
        )
        parts.append(table(counts_wording.count_columns(trial), counts_wording.count_rows(trial)))
    return [*parts, "\n".join(f"* {text(line)}" for line in counts_wording.counts_basis(section))]


def _trial(result: BenchResult, trial: Trial) -> list[str]:
    heading = f"## {text(wording.trial_name(result, trial))}, {text(wording.table_title(trial))}"
    parts = [heading, table(wording.TIMING_COLUMNS, map(wording.timing_cells, trial.timings), left=2)]
    ratios = [f"* {text(line)}" for line in wording.ratio_lines(trial)]
    remarks = [f"* {text(f'{verdict.kind}: {verdict.text}')}" for verdict in trial.verdicts]
    return [*parts, "\n".join([*ratios, *remarks])] if ratios or remarks else parts
