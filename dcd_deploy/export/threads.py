"""torch's threads on a busy machine.

While they wait for one another, the threads of an operator spin. Where other processes want the cores, the one that
all wait for is not running, and the others burn its time: a reference of one second took four minutes. The command line
asks OpenMP not to spin, before torch is loaded (OMP_WAIT_POLICY); a library comes too late for that, and must not
decide it for a program that trains. So the number of threads is chosen by how many cores are free, each time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

POLICY, PASSIVE = "OMP_WAIT_POLICY", "PASSIVE"
LOOK_SECONDS = 0.05
BUSY = 0.5  # of a core, from which on it counts as taken
IDLE, WAITING = 3, 4  # fields of /proc/stat

_depth = 0


@contextmanager
def threads_by_load() -> Iterator[None]:
    """Let torch use as many threads as there are free cores while the block runs, at least one and no more than before.

    A block within such a block, or a process whose threads do not spin, is left alone.
    """
    global _depth  # noqa: PLW0603 - as torch's own number of threads is the process's
    if _depth or os.environ.get(POLICY, "").upper() == PASSIVE:
        yield
        return
    before = torch.get_num_threads()
    _depth += 1
    try:
        if before > 1:
            torch.set_num_threads(max(1, min(before, free_cores())))
        yield
    finally:
        _depth -= 1
        torch.set_num_threads(before)


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
