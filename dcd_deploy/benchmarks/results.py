"""What a benchmark found, raw samples included, and its file: one JSON document of a versioned schema.

A ``BenchResult`` has a ``Trial`` for each device × model × runtime × threads × batch; in a trial the model and all that
it is compared with were measured in turns in one process. What emulated cores counted stands apart, in ``counts``. A
trial that could not be measured is a ``Failure``; the others are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dcd_deploy.benchmarks.counts import CountSection
from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.machine import Machine
from dcd_deploy.benchmarks.measure import MeasureConfig, Samples
from dcd_deploy.benchmarks.statistics import Latency, Ratio

SCHEMA = 4
KIND = "dcd-deploy bench"
MODEL, STATIC, AGAINST = "model", "static", "against"  # the roles within a trial


@dataclass(frozen=True)
class Memory:
    """Peak resident memory of a process that did nothing but open the model and run it.

    ``own_mb`` is without Python and the runtime's library.
    """

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
class Trial:
    """One model, ``timings[0]``, and what it is compared with; ``ratios`` goes by the names of the other timings.

    ``device`` is a key of the result's ``environments``.
    """

    device: str
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

    device: str
    name: str
    runtime: str
    threads: int
    batch: int | None
    reason: str


@dataclass(frozen=True)
class BenchResult:
    """One run of the benchmark; ``environments`` are those of the devices that were reached, by their names.

    ``counts`` is None where no emulated core was asked.
    """

    environments: dict[str, Environment]
    config: MeasureConfig
    trials: tuple[Trial, ...]
    failures: tuple[Failure, ...] = ()
    counts: CountSection | None = None
    kind: str = field(default=KIND)
    schema: int = SCHEMA
