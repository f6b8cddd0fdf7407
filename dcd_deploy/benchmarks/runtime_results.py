"""What each runtime made of one model file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.statistics import Ratio
from dcd_deploy.errors import BenchError

STATUSES = ("right", "wrong", "failed", "not installed", "loads")
RIGHT, WRONG, FAILED, MISSING, LOADS = STATUSES
HERE, NOWHERE = "this environment", "nowhere"


@dataclass(frozen=True)
class PairTimes:
    """Medians, over the blocks, of the milliseconds of one run: the model's and its static twin's, and their ratio."""

    model_ms: float
    static_ms: float | None
    ratio: Ratio | None


@dataclass(frozen=True)
class RuntimeRow:
    """What one runtime made of the file.

    ``status`` is "right" or "wrong" (the error beyond the tolerance, or not a number), "failed", "not installed", or
    "loads" where no file was asked for. ``relative_error`` is over the range of the reference outputs. ``left_out`` are
    operators that do not run on its usual kernels, None where it takes a file whole or refuses it.
    """

    runtime: str
    status: str
    place: str
    version: str | None = None
    failure: str | None = None
    relative_error: float | None = None
    partitions: int | None = None
    left_out: tuple[str, ...] | None = None
    open_s: float | None = None
    cpu: PairTimes | None = None
    wall: PairTimes | None = None
    remark: str | None = None


@dataclass(frozen=True)
class RuntimesResult:
    """The rows, those that are right first, the quickest of them first; ``model`` is None where none was given.

    ``remark`` says why there is no ``baseline``, where one was wanted.
    """

    model: str | None
    baseline: str | None
    tolerance: float | None
    samples: int
    threads: int
    blocks: int
    rows: tuple[RuntimeRow, ...]
    environment: Environment
    remark: str | None = None

    @property
    def quickest(self) -> RuntimeRow | None:
        """The runtime with the least processor time of those that are right."""
        return next((row for row in self.rows if row.status == RIGHT and row.cpu is not None), None)

    def checked(self, named: Sequence[str] = ()) -> RuntimesResult:
        """Return this result.

        Raises:
            BenchError: a runtime is wrong or failed, or one of those ``named`` is not installed; it carries the result.
        """
        bad = [
            row
            for row in self.rows
            if row.status in (WRONG, FAILED) or (row.runtime in named and row.status == MISSING)
        ]
        if bad:
            lines = "; ".join(f"{row.runtime}: {_said(row)}" for row in bad)
            raise BenchError(f"{len(bad)} of {len(self.rows)} runtimes did not pass: {lines}", self)
        return self


def _said(row: RuntimeRow) -> str:
    return row.failure or f"wrong by {row.relative_error:.1e} of the outputs' range"
