"""Programs run with lists of arguments, a time limit, a limit to what they may say, and from another thread stopped."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from dcd_deploy.errors import DeviceLostError
from dcd_deploy.runtimes.isolated import end

MOST_BYTES = 8_000_000
PIECE = 65536


@dataclass(frozen=True)
class Said:
    """How a program ended. ``cut`` is why it was ended early: "time", "size", or None if it was not."""

    code: int
    out: str
    err: str
    cut: str | None = None


class Programs:
    """Those that are running for one purpose; ``stop`` ends them, and refuses any more but for tidying up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self, command: Sequence[str], seconds: float, most_bytes: int = MOST_BYTES, *, tidying: bool) -> Said:
        """Run a program; one that takes longer than ``seconds``, or says more than ``most_bytes``, is ended.

        Raises:
            DeviceLostError: it was stopped, or all were before.
            OSError: it cannot be started.
        """
        with self._started(command, tidying=tidying) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            drains = [_Drain(pipe, process, most_bytes) for pipe in (process.stdout, process.stderr)]
            cut = None
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                cut = "time"
            finally:
                end(process)
            for drain in drains:
                drain.join(5.0)  # a daemon that the program started may hold the pipe open
        if self._stopped and not tidying:
            raise DeviceLostError("the phone was let go of")
        if any(drain.full for drain in drains):
            cut = "size"
        return Said(process.returncode, drains[0].text(), drains[1].text(), cut)

    def stop(self) -> None:
        """End all; whoever waits for one gets DeviceLostError."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                with suppress(ProcessLookupError):
                    process.kill()

    @contextmanager
    def _started(self, command: Sequence[str], *, tidying: bool) -> Iterator[subprocess.Popen[bytes]]:
        with self._lock:
            if self._stopped and not tidying:
                raise DeviceLostError("the phone was let go of")
            process = subprocess.Popen(  # noqa: S603 - a list of arguments; no shell of ours sees it
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # a Ctrl-C is ours to handle
            )
            if not tidying:
                self._running.add(process)
        with process:
            try:
                yield process
            finally:
                end(process)
                with self._lock:
                    self._running.discard(process)


class _Drain(threading.Thread):
    """Reads a pipe to its end; ends the process that says too much."""

    def __init__(self, pipe: IO[bytes], process: subprocess.Popen[bytes], most: int) -> None:
        super().__init__(daemon=True)
        self.pipe, self.process, self.most = pipe, process, most
        self.pieces: list[bytes] = []
        self.full = False
        self.start()

    def run(self) -> None:
        size = 0
        with suppress(OSError, ValueError):
            while piece := os.read(self.pipe.fileno(), PIECE):
                size += len(piece)
                if size > self.most:
                    self.full = True
                    self.process.kill()
                    return
                self.pieces.append(piece)

    def text(self) -> str:
        """Return what was read so far, as text."""
        return b"".join(self.pieces).decode("utf-8", "replace")
