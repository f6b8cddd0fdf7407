"""The measuring loop: candidate and baseline take turns in blocks, in one process.

    warm up both repeat:  candidate × RUNS, baseline × RUNS        the first DROPPED runs of each block refill the
    caches, and are not counted

A drift of the machine falls on both alike, and each block pair is one sample of the ratio. Alternating single runs
instead would let each model evict the other from the caches; the smaller one suffers more from it, which flatters the
ratio.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

Run = Callable[[], object]


@dataclass(frozen=True)
class MeasureConfig:
    """How long to measure: until ``min_blocks`` block pairs and ``min_seconds`` are both done."""

    runs: int = 6
    dropped: int = 2
    warmup_runs: int = 5
    warmup_seconds: float = 0.5
    min_blocks: int = 30
    min_seconds: float = 3.0
    rounds: int = 1


@dataclass(frozen=True)
class Measurement:
    """Raw times of one model in milliseconds: a row of counted runs for each block."""

    name: str
    blocks_ms: tuple[tuple[float, ...], ...]


def measure_interleaved(runs: dict[str, Run], config: MeasureConfig) -> list[Measurement]:
    """Measure each of ``runs`` (name → one inference) in turns."""
    for run in runs.values():
        _warm_up(run, config)
    blocks: dict[str, list[tuple[float, ...]]] = {name: [] for name in runs}
    start, done = time.perf_counter(), 0
    while done < config.min_blocks or time.perf_counter() - start < config.min_seconds:
        for name, run in runs.items():
            blocks[name].append(_block(run, config))
        done += 1
    return [Measurement(name, tuple(rows)) for name, rows in blocks.items()]


def _warm_up(run: Run, config: MeasureConfig) -> None:
    start, done = time.perf_counter(), 0
    while done < config.warmup_runs or time.perf_counter() - start < config.warmup_seconds:
        run()
        done += 1


def _block(run: Run, config: MeasureConfig) -> tuple[float, ...]:
    times = []
    for _ in range(config.runs):
        start = time.perf_counter_ns()
        run()
        times.append((time.perf_counter_ns() - start) / 1e6)
    return tuple(times[config.dropped :])
