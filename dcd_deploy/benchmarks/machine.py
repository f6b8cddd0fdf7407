"""What the machine does while we measure: others' use of its cores, and the clock, as far as Linux tells."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.benchmarks.reading import read_text
from dcd_deploy.benchmarks.throttling import Throttling, temperature_c

BUSY = (0, 1, 2, 5, 6)  # user, nice, system, irq, softirq; the columns of /proc/stat
STOLEN = 7


@dataclass(frozen=True)
class Machine:
    """During a trial: cores kept busy by other processes, cores the host took away, clock and temperature around it.

    ``throttled`` says whether it slowed itself down to stay cool. None where it cannot be read.
    """

    others_busy_cores: float | None = None
    stolen_cores: float | None = None
    clock_mhz_before: float | None = None
    clock_mhz_after: float | None = None
    temperature_c_before: float | None = None
    temperature_c_after: float | None = None
    throttled: bool | None = None


@contextmanager
def watched() -> Iterator[list[Machine]]:
    """Watch the machine during a block; the list holds one ``Machine`` after it."""
    found: list[Machine] = []
    clock, warm, throttling, before = clock_mhz(), temperature_c(), Throttling.now(), _Reading.now()
    yield found
    after, later = _Reading.now(), clock_mhz()
    throttled = throttling.until(Throttling.now())
    found.append(Machine(*before.until(after), clock, later, warm, temperature_c(), throttled))


def clock_mhz() -> float | None:
    """Return the clock of the fastest core at this moment."""
    clocks = [
        float(line.partition(":")[2])
        for line in read_text("/proc/cpuinfo").splitlines()
        if line.startswith("cpu MHz") and line.partition(":")[2].strip()
    ]
    if not clocks:
        texts = map(read_text, Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
        clocks = [float(text) / 1000 for text in texts if text.strip().isdigit()]
    return max(clocks, default=None)


@dataclass(frozen=True)
class _Reading:
    """Seconds of processor time since the machine started: all processes', this one's, and what the host took."""

    at: float
    busy: float | None
    stolen: float | None
    own: float

    @classmethod
    def now(cls) -> _Reading:
        columns = [int(part) for part in read_text("/proc/stat").partition("\n")[0].split()[1:] if part.isdigit()]
        tick = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
        busy = sum(columns[i] for i in BUSY) / tick if len(columns) > STOLEN else None
        stolen = columns[STOLEN] / tick if len(columns) > STOLEN else None
        return cls(time.monotonic(), busy, stolen, time.process_time())

    def until(self, later: _Reading) -> tuple[float | None, float | None]:
        """Return how many cores others used, and the host took, from this reading to ``later``."""
        seconds = later.at - self.at
        if None in (self.busy, later.busy, self.stolen, later.stolen) or seconds <= 0:
            return None, None
        assert self.busy is not None
        assert later.busy is not None
        assert self.stolen is not None
        assert later.stolen is not None
        others = (later.busy - self.busy) - (later.own - self.own)
        return max(0.0, others / seconds), max(0.0, (later.stolen - self.stolen) / seconds)
