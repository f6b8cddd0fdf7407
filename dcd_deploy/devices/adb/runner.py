"""What a runner made for the phone itself is: a program that opens a model, runs it, and prints how long that took.

Google's ``benchmark_model`` and onnxruntime's ``onnxruntime_perf_test`` are two kinds of it. The user brings the
program (``--runner PATH``); its kind is known by what it will print.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from dcd_deploy.errors import DeviceLackError

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
