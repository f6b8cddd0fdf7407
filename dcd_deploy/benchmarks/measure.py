"""The measuring loop: candidate and baselines take turns in blocks, in one process.

    for each round:      open every model (load), run it once (first), warm it up
        repeat:          RUNS of the one, RUNS of the other; then the other way round
                         the first DROPPED of each block refill the caches, and are not counted

A drift of the machine falls on all alike, and the blocks of one turn are one sample of the ratio. Alternating single
runs instead would let each model evict the other from the caches; the smaller one suffers more from it, which flatters
the ratio. Where a model's memory comes to lie can make it some per cent faster or slower for as long as it is open;
therefore it is opened anew in each round, and the rounds belong to the spread.

It stands alone, on Python 3.9: processes without this package run it too (``runtimes.others.worker``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Run = Callable[[], object]
Open = Callable[[], Run]  # loads a model and returns what runs it once


@dataclass(frozen=True)
class MeasureConfig:
    """How long to measure: until ``min_runs`` counted runs of each model and ``min_seconds`` in all are both done.

    ``warmup_runs`` and ``warmup_seconds`` hold for each model in each of the ``rounds``.
    """

    runs: int = 6
    dropped: int = 2
    warmup_runs: int = 5
    warmup_seconds: float = 0.25
    min_runs: int = 200
    min_seconds: float = 10.0
    rounds: int = 5

    @property
    def turns(self) -> int:
        """The least number of turns in each round."""
        return max(1, math.ceil(self.min_runs / (self.runs - self.dropped) / self.rounds))


@dataclass(frozen=True)
class Samples:
    """Raw milliseconds of one model: load, first run and all of the warm-up once a round, steady state block by block.

    ``blocks_ms`` has a row of counted runs for each block; ``rounds`` says in which round each block was measured.
    """

    load_ms: tuple[float, ...]
    first_ms: tuple[float, ...]
    warmup_ms: tuple[float, ...]
    blocks_ms: tuple[tuple[float, ...], ...]
    rounds: tuple[int, ...]


def as_samples(content: Mapping[str, Any]) -> Samples:
    """Return samples from what JSON makes of them: lists."""
    blocks = tuple(map(tuple, content["blocks_ms"]))
    return Samples(**{key: tuple(value) for key, value in content.items() if key != "blocks_ms"}, blocks_ms=blocks)


@dataclass
class _Collected:
    """The samples of one model while they come in."""

    load_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    warmup_ms: list[float] = field(default_factory=list)
    blocks_ms: list[tuple[float, ...]] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)

    def samples(self) -> Samples:
        lists = (self.load_ms, self.first_ms, self.warmup_ms, self.blocks_ms, self.rounds)
        return Samples(*map(tuple, lists))  # type: ignore[arg-type]  # each of its own type


def measure_in_turns(models: dict[str, Open], config: MeasureConfig) -> dict[str, Samples]:
    """Measure all of ``models`` in turns."""
    collected = {name: _Collected() for name in models}
    for number in range(config.rounds):
        names = _turned(list(models), number)
        runs = {name: _start(models[name], collected[name], config) for name in names}
        _measure_round(number, runs, collected, config)
        del runs  # closed before the next round opens them
    return {name: found.samples() for name, found in collected.items()}


def _start(open_model: Open, into: _Collected, config: MeasureConfig) -> Run:
    """Open a model, run it for the first time, and warm it up."""
    start = time.perf_counter_ns()
    run = open_model()
    into.load_ms.append((time.perf_counter_ns() - start) / 1e6)
    into.first_ms.append(timed(run))
    into.warmup_ms.append(timed(lambda: _warm_up(run, config)))
    return run


def _warm_up(run: Run, config: MeasureConfig) -> None:
    start, done = time.perf_counter(), 0
    while done < config.warmup_runs or time.perf_counter() - start < config.warmup_seconds:
        run()
        done += 1


def _measure_round(number: int, runs: dict[str, Run], into: dict[str, _Collected], config: MeasureConfig) -> None:
    start, turn = time.perf_counter(), 0
    while turn < config.turns or time.perf_counter() - start < config.min_seconds / config.rounds:
        for name in _turned(list(runs), turn):
            into[name].blocks_ms.append(_block(runs[name], config))
            into[name].rounds.append(number)
        turn += 1


def _turned(names: list[str], number: int) -> list[str]:
    """Return the names in the order of turn ``number``: who goes first has the other's leftovers in the caches."""
    return names[::-1] if number % 2 else names


def _block(run: Run, config: MeasureConfig) -> tuple[float, ...]:
    return tuple(timed(run) for _ in range(config.runs))[config.dropped :]


def timed(run: Run) -> float:
    """Return how many milliseconds one run takes."""
    start = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start) / 1e6
