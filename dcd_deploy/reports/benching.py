"""How a benchmark reads in the terminal."""

from __future__ import annotations

from rich.console import Console

from dcd_deploy.benchmarks.results import BenchResult, Trial
from dcd_deploy.reports import wording
from dcd_deploy.reports.across import across_devices
from dcd_deploy.reports.counting import show_counts
from dcd_deploy.reports.terminal import line, show_table


def show_bench(screen: Console, result: BenchResult) -> None:
    """Print a summary of several trials, each trial with its ratios and remarks, what failed, and the machine.

    Of several devices the summary is a table of devices and models, and of each trial there are the remarks alone.
    Counts have tables of their own below.
    """
    _show_times(screen, result)
    if result.counts is not None:
        if result.trials:
            line(screen)
        show_counts(screen, result)


def _show_times(screen: Console, result: BenchResult) -> None:
    if len(wording.devices(result)) > 1:
        _show_devices(screen, result)
        return
    if len(result.trials) > 1:
        columns = wording.summary_columns(result)
        show_table(screen, "", columns, wording.summary_rows(result), left=columns.index("threads"))
    for trial in result.trials:
        _show_trial(screen, trial)
    _show_rest(screen, result)


def _show_devices(screen: Console, result: BenchResult) -> None:
    show_table(screen, "median, and times as long as the static twin", *across_devices(result), left=2)
    for trial in result.trials:
        for verdict in trial.verdicts:
            line(screen, f"{trial.device}, {trial.timings[0].name}: {verdict.kind}: {verdict.text}")
    line(screen)
    _show_rest(screen, result)


def _show_rest(screen: Console, result: BenchResult) -> None:
    for failure in wording.timed_failures(result):
        line(screen, f"not measured: {wording.failure_line(failure)}")
    for text in wording.environment_lines(result):
        line(screen, text)


def _show_trial(screen: Console, trial: Trial) -> None:
    rows = map(wording.timing_cells, trial.timings)
    show_table(screen, wording.table_title(trial), wording.TIMING_COLUMNS, rows, left=2)
    for text in wording.ratio_lines(trial):
        line(screen, text)
    for verdict in trial.verdicts:
        line(screen, f"{verdict.kind}: {verdict.text}")
    line(screen)
