"""A benchmark as CSV, for spreadsheets and data frames: UTF-8, commas, texts in quotes, lines that end in CR LF.

A text that a spreadsheet would take for a formula begins with an apostrophe. Times are milliseconds, memory is in MB
(10^6 bytes); a cell is empty where nothing was measured. ``measured`` tells rows of times from rows of counts; a row of
either has the other's cells empty.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from dcd_deploy.benchmarks.counts import COMPARED, CountedModel, CountTrial
from dcd_deploy.benchmarks.results import BenchResult, Timing, Trial
from dcd_deploy.reports.terminal import plain

Cell = str | int | float | None

COLUMNS = {
    "trial": "the trial's number, from 0; counts come after times",
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
    "measured": "times, or counts of an emulated core",
    "core": "the emulated core",
    "instructions": "counted instructions of a run",
    "fmla": "fused multiply-adds of floats",
    "dot": "dot products of bytes",
    "mmla": "matrix products",
    "bytes_loaded": "what all loads name",
    "bytes_stored": "what all stores name",
    "l1_misses": "lines that the modelled L1 did not have",
    "l2_misses": "lines that the modelled L2 did not have either",
    "traffic_bytes": "traffic beyond the modelled L2",
    "count_spread": "how far the instructions of the runs differ, over their median",
    "instructions_ratio": "the trial's model over this one; empty where this one has none",
    "fmla_ratio": "likewise",
    "dot_ratio": "likewise",
    "mmla_ratio": "likewise",
    "bytes_loaded_ratio": "likewise",
    "bytes_stored_ratio": "likewise",
    "l1_misses_ratio": "likewise",
    "l2_misses_ratio": "likewise",
    "traffic_bytes_ratio": "likewise",
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
    """Return a row of COLUMNS for each model of each trial, or with ``raw`` one of RAW_COLUMNS for each timed run."""
    rows = _raw_rows(result) if raw else _rows(result)
    return csv_text(list(RAW_COLUMNS if raw else COLUMNS), rows)


def _rows(result: BenchResult) -> Iterator[Sequence[Cell]]:
    no_counts: list[Cell] = [None] * (len(COLUMNS) - list(COLUMNS).index("core"))
    for number, trial in enumerate(result.trials):
        for timing in trial.timings:
            cells = (*_trial_cells(trial), *_timing_cells(timing), *_ratio_cells(trial, timing))
            yield [number, *cells, "times", *no_counts]
    for number, counted in enumerate(result.counts.trials if result.counts else (), len(result.trials)):
        yield from ([number, *_count_cells(counted, model)] for model in counted.models)


def _count_cells(trial: CountTrial, m: CountedModel) -> list[Cell]:
    setting: list[Cell] = [trial.device, trial.runtime, trial.runtime_version, 1, trial.batch, None]
    names = list(COLUMNS)
    no_times: list[Cell] = [None] * (names.index("measured") - names.index("load_ms"))
    counts = [getattr(m.counts, name) for name in COMPARED]
    ratios = [trial.ratio(m, name) if m.name in trial.ratios else None for name in COMPARED]
    model = [m.role, m.name, m.path, m.sha256, m.network]
    return [*setting, *model, *no_times, "counts", trial.core, *counts, m.spread, *ratios]


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


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return a table as CSV."""
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
