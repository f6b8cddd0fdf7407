"""How many cores nobody uses now: by them what can be done side by side is done so, or one thing after the other."""

from __future__ import annotations

import os
import time
from pathlib import Path

LOOK_SECONDS = 0.05
BUSY = 0.5  # of a core, from which on it counts as taken
IDLE, WAITING = 3, 4  # fields of /proc/stat


def free_cores() -> int:
    """Return how many of the cores that this process may use nobody else uses now; 1 where that cannot be told."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    first = _idle_ticks()
    time.sleep(LOOK_SECONDS)
    second = _idle_ticks()
    if not first or not second:
        return 1
    idle = [second[core] - first[core] for core in allowed if core in first and core in second]
    ticks = LOOK_SECONDS * os.sysconf("SC_CLK_TCK")
    return sum(each >= (1 - BUSY) * ticks for each in idle)


def _idle_ticks() -> dict[int, int]:
    """Return for each core how long it has been idle, in ticks."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
        rows = [line.split() for line in lines if line.startswith("cpu") and line[3].isdigit()]
        return {int(row[0][3:]): int(row[1 + IDLE]) + int(row[1 + WAITING]) for row in rows}
    except (OSError, ValueError, IndexError):
        return {}
