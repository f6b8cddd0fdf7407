"""How a benchmark reads in the terminal; of several devices, one table in which each column is a device."""

from __future__ import annotations

from rich.console import Console

from dcd_deploy.benchmarks.results import BenchResult, Failure, Trial
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports import wording
from dcd_deploy.reports.counts import NONE, show_counts
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


Key = tuple[str, str, int, int | None]  # model, runtime, threads, batch
MISSING = "not measured"


def across_devices(result: BenchResult) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the columns, the first two of which are the model and how it was run, and a row for each model.

    A cell has the median, and how many times as long as its static twin the model takes, with the interval.
    """
    devices = wording.devices(result)
    cells: dict[tuple[Key, str], str] = {}
    for failure in wording.timed_failures(result):
        cells[_key_of_failure(failure, result), failure.device] = MISSING
    for trial in result.trials:
        cells[_key(trial), trial.device] = _cell(trial)
    keys = list(dict.fromkeys([*map(_key, result.trials), *(key for key, _ in cells)]))
    rows = [(*_heads(key, keys), *(cells.get((key, device), NONE) for device in devices)) for key in keys]
    return ("model", "runtime", *devices), rows


def _key(trial: Trial) -> Key:
    return trial.timings[0].name, trial.runtime, trial.threads, trial.batch


def _key_of_failure(failure: Failure, result: BenchResult) -> Key:
    """Return the row of a failure; where the batch was left to the file, that of the same trial elsewhere."""
    asked = (failure.name, failure.runtime, failure.threads)
    if failure.batch is None:
        for trial in result.trials:
            if _key(trial)[:3] == asked:
                return _key(trial)
    return (*asked, failure.batch)


def _heads(key: Key, keys: list[Key]) -> tuple[str, str]:
    """Return the model, and how it was run: threads and batch where they differ between the rows."""
    name, runtime, threads, batch = key
    parts = [runtime]
    if len({other[2] for other in keys}) > 1:
        parts.append(f"{threads} thread{'s' * (threads != 1)}")
    if batch is not None and len({other[3] for other in keys if other[3] is not None}) > 1:
        parts.append(f"batch {batch}")
    return name, ", ".join(parts)


def _cell(trial: Trial) -> str:
    twin, median = wording.static_twin(trial), numbers.milliseconds(trial.timings[0].latency.median_ms)
    return median if twin is None else f"{median}, {twin[1].median:.2f} × ({wording.span(twin[1])})"
