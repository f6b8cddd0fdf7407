"""A program run with a list of arguments, a time limit, and a limit to what it may say."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

MOST_BYTES = 8_000_000
PIECE = 65536


@dataclass(frozen=True)
class Said:
    """How a program ended. ``cut`` is why it was ended early: "time", "size", or None if it was not."""

    code: int
    out: str
    err: str
    cut: str | None = None


def run(command: Sequence[str], seconds: float, most_bytes: int = MOST_BYTES) -> Said:
    """Run a program; one that takes longer than ``seconds``, or says more than ``most_bytes``, is ended."""
    with subprocess.Popen(  # noqa: S603 - a list of arguments; no shell of ours sees it
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C is ours to handle
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        drains = [_Drain(pipe, process, most_bytes) for pipe in (process.stdout, process.stderr)]
        cut = None
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            cut = "time"
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
        for drain in drains:
            drain.join(5.0)  # a daemon that the program started may hold the pipe open
        if any(drain.full for drain in drains):
            cut = "size"
        return Said(process.wait(), drains[0].text(), drains[1].text(), cut)


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
