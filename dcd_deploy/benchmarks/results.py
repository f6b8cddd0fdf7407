"""What a benchmark found, raw samples included, and its file: one JSON document of a versioned schema.

A ``BenchResult`` has a ``Trial`` for each model × runtime × threads × batch; in a trial the model and all it is
compared with were measured in turns in one process. A trial that could not be measured is a ``Failure``; the others
are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.benchmarks.statistics import Latency, Ratio

SCHEMA = 2
KIND = "dcd-deploy bench"
MODEL, STATIC, AGAINST = "model", "static", "against"  # the roles within a trial


@dataclass(frozen=True)
class Samples:
    """Raw milliseconds of one model in one trial: start-up once for each round, steady state block by block.

    ``blocks_ms`` has a row of counted runs for each block; ``rounds`` says of each block in which opening of the model
    it was measured.
    """

    load_ms: tuple[float, ...]
    first_ms: tuple[float, ...]
    warmup_ms: tuple[float, ...]
    blocks_ms: tuple[tuple[float, ...], ...]
    rounds: tuple[int, ...]


@dataclass(frozen=True)
class Memory:
    """Peak resident memory in MB of a process that only ran the model; ``own_mb``: without Python and the runtime."""

    peak_mb: float
    own_mb: float


@dataclass(frozen=True)
class Timing:
    """One model of a trial. ``role`` is MODEL, STATIC or AGAINST; ``name`` is what reports call it."""

    role: str
    name: str
    path: str
    sha256: str
    network: str | None  # such as "mobilenetv2_dcd ×0.5", where the file says it
    samples: Samples
    latency: Latency
    memory: Memory | None


@dataclass(frozen=True)
class Verdict:
    """A remark of the benchmark on itself. ``kind`` is one of ``verdicts.KINDS``, ``text`` one line for people."""

    kind: str
    text: str


@dataclass(frozen=True)
class Machine:
    """What the machine did during a trial: busy cores of others, the clock before and after; None where unreadable."""

    others_busy_cores: float | None
    stolen_cores: float | None
    clock_mhz_before: float | None
    clock_mhz_after: float | None


@dataclass(frozen=True)
class Trial:
    """One model and what it is compared with: ``timings[0]`` is the model; ``ratios`` go by the others' names."""

    runtime: str
    runtime_version: str
    threads: int
    batch: int
    cpus: tuple[int, ...] | None
    timings: tuple[Timing, ...]
    ratios: dict[str, Ratio]
    machine: Machine
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Failure:
    """A trial without a result, and why."""

    name: str
    runtime: str
    threads: int
    batch: int | None
    reason: str


@dataclass(frozen=True)
class BenchResult:
    """One run of the benchmark."""

    environment: Environment
    config: MeasureConfig
    trials: tuple[Trial, ...]
    failures: tuple[Failure, ...] = ()
    kind: str = field(default=KIND)
    schema: int = SCHEMA
