"""A profile by ExecuTorch's own event tracer: XNNPACK's times of its operators, in whole microseconds.

A program names none of its operators, so they stand under XNNPACK's names, in the order in which they ran, without
layer and part. What runs outside XNNPACK stands under the name of its kernel. The tracer writes one file of all runs,
a flatbuffer behind its size (``devtools/etdump/etdump_schema_flatcc.fbs`` in the package).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dcd_deploy.benchmarks.profile import ProfiledNode
from dcd_deploy.errors import MissingDependencyError
from dcd_deploy.runtimes.executorch import ExecuTorchSession
from dcd_deploy.runtimes.flatbuffer import Table
from dcd_deploy.runtimes.nodes import UNKNOWN
from dcd_deploy.runtimes.session import Input

SIZE_BYTES = 4  # before the flatbuffer
DUMP_BLOCKS, BLOCK_NAME, BLOCK_EVENTS, EVENT_TIMED = 1, 0, 3, 0
TIMED_NAME, TIMED_IN_DELEGATE, TIMED_START, TIMED_END = 0, 4, 6, 7
RUN, KERNEL = "Execute", "native_call_"  # what the tracer calls a run, and a kernel outside the delegates
NUMBER = re.compile(r" #\d+$")  # XNNPACK counts the operators of a kind

Timed = tuple[str, float]  # name, milliseconds


class ExecuTorchProfile:
    """A program opened with the tracer on, which another session of this process has run before."""

    def __init__(self, path: Path, inputs: Sequence[Input], threads: int) -> None:
        self._session = ExecuTorchSession(path, threads, trusted=True, traced=True)
        self._run = self._session.prepare(*inputs)
        self._counted: list[bool] = []

    def run(self, *, counted: bool) -> None:
        """Run once under the tracer."""
        self._run()
        self._counted.append(counted)

    def finish(self) -> tuple[ProfiledNode, ...]:
        """Return the operators with their medians over the counted runs."""
        try:
            runs = read_runs(self._session.trace())
        except (struct.error, IndexError, ValueError) as error:
            raise self._unreadable(error) from error
        if len(runs) != len(self._counted) or not runs[0]:
            raise self._unreadable(f"{len(runs)} runs of {len(runs[0]) if runs else 0} operators")
        kept = [run for run, counted in zip(runs, self._counted, strict=True) if counted and len(run) == len(runs[0])]
        medians = np.median([[ms for _, ms in run] for run in kept], axis=0)
        return tuple(
            ProfiledNode(name, NUMBER.sub("", name), "", UNKNOWN, float(ms), 0, 0, 0)
            for (name, _), ms in zip(runs[0], medians, strict=True)
        )

    def close(self) -> None:
        """Nothing is held that Python does not free."""

    def _unreadable(self, found: object) -> MissingDependencyError:
        return MissingDependencyError(
            expected=f"a trace of {len(self._counted)} runs as executorch 1.5 writes it",
            found=f"{found} by {self._session.version}",
            advice="run: pip install 'executorch==1.5.1'",
        )


def read_runs(content: bytes) -> list[list[Timed]]:
    """Return the operators of each run in a trace.

    Raises:
        struct.error, IndexError, ValueError: it is another kind of file, or damaged.
    """
    blocks = Table.root(content[SIZE_BYTES:]).tables(DUMP_BLOCKS)
    return [_operators(block) for block in blocks if block.text(BLOCK_NAME) == RUN]


def _operators(block: Table) -> list[Timed]:
    found = []
    for event in block.tables(BLOCK_EVENTS):
        timed = event.table(EVENT_TIMED)
        if timed is None:
            continue
        name, inside = timed.text(TIMED_NAME), timed.text(TIMED_IN_DELEGATE)
        if inside or name.startswith(KERNEL):
            took = timed.number(TIMED_END, "Q") - timed.number(TIMED_START, "Q")
            found.append((inside or name.removeprefix(KERNEL), took / 1e6))
    return found
