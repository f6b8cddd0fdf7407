"""Models against devices: one table in which each column is a device."""

from __future__ import annotations

from dcd_deploy.benchmarks.results import BenchResult, Failure, Trial
from dcd_deploy.reports import numbers, wording

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
    rows = [(*_heads(key, keys), *(cells.get((key, device), wording.NONE) for device in devices)) for key in keys]
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
