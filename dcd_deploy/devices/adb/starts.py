"""A runner started in turns on a model and all that it is compared with, each start a block of its own.

    each once, not counted: it works, its file is warm, and its times say how many runs the blocks have
    turn:    start it on the one model, then on the other; then the other way round

Unlike in the loop of ``measure``, whatever opens a model opens it for one block alone. So every turn is a round, and
what differs from opening to opening is in every block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median

from dcd_deploy.benchmarks.measure import MeasureConfig, Samples
from dcd_deploy.devices.adb.runner import Effort, Start

MOST_TURNS = 20  # as many pairs as make a ratio that can be believed; each costs two starts
MOST_RUNS = 100_000
PROBE = Effort(runs=3, seconds=0.0, warmup_runs=1, warmup_seconds=0.0, most_seconds=math.inf)
Run = Callable[[Effort], Start]


def turns_of(config: MeasureConfig) -> int:
    """Return how many turns there are: one for each round, and for a long measurement as many as it needs."""
    return max(config.rounds, min(MOST_TURNS, math.ceil(config.min_runs / (config.runs - config.dropped))))


def measure_starts(
    models: Mapping[str, Run], config: MeasureConfig, asked: Effort, left: Callable[[], float]
) -> dict[str, Samples]:
    """Measure ``models`` in turns; of ``asked`` threads and layout count; ``left`` says how many seconds there are."""
    probe = replace(PROBE, threads=asked.threads, plain=asked.plain)
    efforts = {
        name: _effort(run(replace(probe, most_seconds=left())), config, len(models), probe)
        for name, run in models.items()
    }
    found: dict[str, list[Start]] = {name: [] for name in models}
    for turn in range(turns_of(config)):
        for name in list(models)[:: -1 if turn % 2 else 1]:
            found[name].append(models[name](replace(efforts[name], most_seconds=left())))
    return {name: _samples(starts) for name, starts in found.items()}


def _effort(probe: Start, config: MeasureConfig, models: int, asked: Effort) -> Effort:
    """Return what each start is to do, so that all turns together do what ``config`` says."""
    turns, run_ms = turns_of(config), median(probe.runs_ms)
    seconds = config.min_seconds / turns / models
    runs = max(math.ceil(config.min_runs / turns), math.ceil(1e3 * seconds / run_ms))
    warmup = max(config.warmup_runs, math.ceil(1e3 * config.warmup_seconds / run_ms))
    return replace(
        asked,
        runs=min(MOST_RUNS, runs),
        seconds=seconds,
        warmup_runs=min(MOST_RUNS, warmup),
        warmup_seconds=config.warmup_seconds,
    )


def _samples(starts: list[Start]) -> Samples:
    return Samples(
        load_ms=tuple(start.load_ms for start in starts),
        first_ms=tuple(start.first_ms for start in starts),
        warmup_ms=tuple(start.warmup_ms for start in starts),
        blocks_ms=tuple(start.runs_ms for start in starts),
        rounds=tuple(range(len(starts))),
    )
