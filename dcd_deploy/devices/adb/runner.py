"""A runner made for the phone itself: a program that opens a model, runs it, and prints how long that took.

Google's ``benchmark_model`` and onnxruntime's ``onnxruntime_perf_test`` are two kinds of it. The user brings the
program (``--runner PATH``); its kind is known by what it will print. A model and all that it is compared with are
started in turns, each start a block of its own:

    each once, not counted: it works, its file is warm, and its times say how many runs the blocks have
    turn:    start it on the one model, then on the other; then the other way round

Unlike in the loop of ``measure``, whatever opens a model opens it for one block alone. So every turn is a round, and
what differs from opening to opening is in every block.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Protocol

from dcd_deploy.benchmarks.measure import MeasureConfig, Samples
from dcd_deploy.devices.adb.client import first_lines, last_lines
from dcd_deploy.devices.adb.phone import Phone
from dcd_deploy.errors import BenchError, DeviceAnswerError, DeviceLackError

BLOCK = 1 << 20
NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"  # as runners print it


@dataclass(frozen=True)
class Effort:
    """How much one start of a runner is to do, with how many threads, and in how many seconds it has to be done.

    ``plain`` asks for the runtime without its usual layout or delegate.
    """

    runs: int
    seconds: float
    warmup_runs: int
    warmup_seconds: float
    most_seconds: float
    threads: int = 1
    plain: bool = False


@dataclass(frozen=True)
class Output:
    """What a runner printed, and what it wrote into its file of results."""

    said: str
    written: str = ""


@dataclass(frozen=True)
class Start:
    """What one start of a runner found, in milliseconds; ``runs_ms`` are its samples, ``warmup_ms`` is all of it."""

    load_ms: float
    first_ms: float
    warmup_ms: float
    runs_ms: tuple[float, ...]


class Runner(Protocol):
    """A kind of runner. ``mark`` are bytes that every program of the kind has in it."""

    @property
    def name(self) -> str:
        """What the program is called where it comes from."""

    @property
    def suffix(self) -> str:
        """Of the model files that it opens."""

    @property
    def mark(self) -> bytes:
        """Bytes that every program of the kind has in it."""

    @property
    def results(self) -> PurePosixPath | None:
        """The file that it writes where it is started, if it does."""

    def words(self, model: PurePosixPath, effort: Effort) -> list[str]:
        """Return the arguments for one start."""

    def parse(self, output: Output, effort: Effort) -> Start:
        """Return what one start found.

        Raises:
            ValueError: that is not what such a runner says.
        """

    def sample(self, output: Output) -> str:
        """Return what one of its samples is, in words."""


def kind_of(path: Path, kinds: Sequence[Runner]) -> Runner:
    """Return the kind of the runner at ``path``.

    Raises:
        DeviceLackError: it is of none of these kinds.
    """
    kept = b""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            for runner in kinds:
                if runner.mark in kept + block:
                    return runner
            kept = block[-64:]
    known = " or ".join(f"{runner.name} (for {runner.suffix} files)" for runner in kinds)
    raise DeviceLackError(expected=f"`runner` {known}", found=f"'{path.name}', which prints the times of neither")


def checked_ms(value: float, what: str) -> float:
    """Return a time that can be one.

    Raises:
        ValueError: it is not finite, or not more than zero.
    """
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"{what} of {value:g} ms")
    return value


MOST_RESULTS = 8_000_000  # bytes of a runner's file of results
# Its process is known, so that it can be ended; when the connection breaks, Android hangs up on this shell, which does.
STARTED = "trap 'kill -9 $p 2>/dev/null' HUP TERM; {words} 2>&1 & p=$!; echo $p >pid; wait $p"


@dataclass
class Starter:
    """What is to be started, where, and on which cores; ``sample`` is what its samples are, once it was started."""

    phone: Phone
    kind: Runner
    program: PurePosixPath
    place: PurePosixPath
    cpus: Collection[int] | None
    sample: str = ""

    def start(self, model: PurePosixPath, effort: Effort) -> Start:
        """Start the runner once, and return what it found.

        Raises:
            BenchError: it did not end well, or not in time.
            DeviceAnswerError: what it said cannot be read.
            DeviceLostError: the connection was lost.
        """
        pinned = [] if self.cpus is None else ["taskset", f"{sum(1 << cpu for cpu in self.cpus):x}"]
        words = shlex.join([*pinned, str(self.program), *self.kind.words(model, effort)])
        results = self.kind.results
        clear = f"rm -f {results}" if results else "true"
        line = f"cd {self.place} && {clear} && {{ {STARTED.format(words=words)}; }}"
        said = self.phone.script(line, seconds=effort.most_seconds)
        if said.code:
            raise BenchError(
                expected=f"{self.kind.name} to end well on the phone",
                found=f"exit code {said.code}",
                advice=f"its last words: {last_lines(said.out)}",
            )
        written = self.phone.read(self.place / results, MOST_RESULTS) if results else ""
        return self._parsed(Output(said.out, written), effort)

    def _parsed(self, output: Output, effort: Effort) -> Start:
        try:
            start = self.kind.parse(output, effort)
        except (ValueError, KeyError) as error:
            raise DeviceAnswerError(
                expected=f"the times that {self.kind.name} prints",
                found=error,
                advice=f"the first lines of what it said: {first_lines(output.said)}",
            ) from error
        self.sample = self.kind.sample(output)
        return start


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
