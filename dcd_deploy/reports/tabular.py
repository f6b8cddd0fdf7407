"""A benchmark as CSV, for spreadsheets and data frames: UTF-8, commas, texts in quotes, lines that end in CR LF.

A text that a spreadsheet would take for a formula begins with an apostrophe. Times are milliseconds, memory is in MB
(10^6 bytes); a cell is empty where nothing was measured.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from dcd_deploy.benchmarks.results import BenchResult, Timing, Trial
from dcd_deploy.reports.numbers import plain

Cell = str | int | float | None

COLUMNS = {
    "trial": "the trial's number, from 0",
    "device": "where it was measured; local: this machine",
    "runtime": "the runtime's name",
    "runtime_version": "its version",
    "threads": "threads of the runtime",
    "batch": "pictures in one run",
    "cpus": "the cores that the process was pinned to, with spaces between; empty: any",
    "role": "model, static (its static twin) or against (another file)",
    "name": "what reports call the model",
    "path": "the file",
    "sha256": "the file's SHA-256",
    "network": "the network, where the file says it",
    "load_ms": "opening the file, median over the rounds",
    "first_ms": "the first run after opening, median over the rounds",
    "warmup_ms": "warming up, median over the rounds",
    "median_ms": "median of all counted runs",
    "p90_ms": "90 % of the runs took at most this",
    "p99_ms": "99 % of the runs took at most this",
    "mad_ms": "median absolute deviation from the median",
    "min_ms": "the fastest run",
    "runs": "counted runs",
    "peak_memory_mb": "peak resident memory of a process that only runs this model",
    "own_memory_mb": "the same without Python and the runtime's library",
    "ratio": "the trial's model over this one",
    "ratio_low": "lower end of the ratio's interval",
    "ratio_high": "upper end",
    "ratio_confidence": "the interval's confidence",
    "ratio_pairs": "block pairs behind the ratio",
    "verdicts": "remarks on the trial, with '; ' between",
}
RAW_COLUMNS = {
    "trial": "the trial's number, from 0",
    "device": "where it was measured; local: this machine",
    "runtime": "the runtime's name",
    "threads": "threads of the runtime",
    "batch": "pictures in one run",
    "role": "model, static or against",
    "name": "what reports call the model",
    "round": "in which opening of the file",
    "block": "the block's number, from 0; blocks of one number were measured one after the other",
    "run": "the counted run's number in its block, from 0",
    "ms": "its time",
}
FORMULA = tuple("=+-@\t\r＝＋－＠")


def bench_csv(result: BenchResult, *, raw: bool = False) -> str:
    """Return a row of COLUMNS for each model of each trial, or with ``raw`` one of RAW_COLUMNS for each counted run."""
    rows = _raw_rows(result) if raw else _rows(result)
    return _written(list(RAW_COLUMNS if raw else COLUMNS), rows)


def _rows(result: BenchResult) -> Iterator[Sequence[Cell]]:
    for number, trial in enumerate(result.trials):
        for timing in trial.timings:
            yield [number, *_trial_cells(trial), *_timing_cells(timing), *_ratio_cells(trial, timing)]


def _trial_cells(trial: Trial) -> list[Cell]:
    cpus = " ".join(map(str, trial.cpus)) if trial.cpus else None
    return [trial.device, trial.runtime, trial.runtime_version, trial.threads, trial.batch, cpus]


def _timing_cells(t: Timing) -> list[Cell]:
    s, at, memory = t.samples, t.latency, t.memory
    start = [median(times) if times else None for times in (s.load_ms, s.first_ms, s.warmup_ms)]
    steady: list[Cell] = [at.median_ms, at.p90_ms, at.p99_ms, at.mad_ms, at.min_ms, at.runs]
    peak = [None, None] if memory is None else [memory.peak_mb, memory.own_mb]
    return [t.role, t.name, t.path, t.sha256, t.network, *start, *steady, *peak]


def _ratio_cells(trial: Trial, timing: Timing) -> list[Cell]:
    r = trial.ratios.get(timing.name)
    remarks = "; ".join(f"{verdict.kind}: {verdict.text}" for verdict in trial.verdicts) or None
    return [*([None] * 5 if r is None else [r.median, r.low, r.high, r.confidence, r.pairs]), remarks]


def _raw_rows(result: BenchResult) -> Iterator[Sequence[Cell]]:
    for number, trial in enumerate(result.trials):
        for t in trial.timings:
            known: list[Cell] = [number, trial.device, trial.runtime, trial.threads, trial.batch, t.role, t.name]
            for block, (times, in_round) in enumerate(zip(t.samples.blocks_ms, t.samples.rounds, strict=True)):
                yield from ([*known, in_round, block, run, ms] for run, ms in enumerate(times))


def _written(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(columns)
    writer.writerows([_safe(cell) for cell in row] for row in rows)
    return stream.getvalue()


def _safe(cell: Cell) -> Cell:
    """Return a cell that no spreadsheet computes: control characters made visible, no formula at the start."""
    if not isinstance(cell, str):
        return cell
    text = plain(cell)
    return "'" + text if cell.startswith(FORMULA) else text
