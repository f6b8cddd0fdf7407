"""Which stages run, and how long each took, on standard error; several devices may be at work at once.

On a terminal the stages that run stand on one line, and each that ended on a line of its own. Elsewhere a stage's line
is begun when it starts and ended when it ends, or, where another came between, written again with its time.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status

from dcd_deploy.reports.numbers import plain
from dcd_deploy.reports.terminal import console, discard

WIDTH = 48  # columns of a stage, before its time


@contextmanager
def live_progress(stage: str) -> Iterator[None]:
    """Show that a stage runs, and how long it took. May be called from several threads."""
    screen, start = console(stderr=True), time.perf_counter()
    shown = _TERMINAL if screen.is_terminal else _LINES
    key = shown.begin(plain(stage), screen)
    try:
        yield
    except BaseException:
        shown.end(key, "")
        raise
    shown.end(key, f"{time.perf_counter() - start:6.1f} s")


class _Terminal:
    """The stages that run on one line that is renewed, with a spinner."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, str] = {}
        self._number = 0
        self._status: Status | None = None

    def begin(self, stage: str, screen: Console) -> int:
        """Add a stage, and return its key."""
        with self._lock:
            self._number += 1
            self._running[self._number] = stage
            if self._status is None:
                self._status = Status("", console=screen)
                self._status.start()
            self._status.update("  ·  ".join(self._running.values()))
            return self._number

    def end(self, key: int, took: str) -> None:
        """Take a stage away, and say how long it ``took``, if it was done."""
        with self._lock:
            stage = self._running.pop(key)
            assert self._status is not None
            screen = self._status.console
            if self._running:
                self._status.update("  ·  ".join(self._running.values()))
            else:
                self._status.stop()
                self._status = None
            if took:
                screen.print(f"  {stage:<{WIDTH}}{took}", style="dim")


class _Lines:
    """A line for each stage; the last may be open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stages: dict[int, str] = {}
        self._number = 0
        self._open: int | None = None

    def begin(self, stage: str, _: Console) -> int:
        """Begin a line, and return its key."""
        with self._lock:
            self._close()
            self._number += 1
            self._stages[self._number] = stage
            _say(f"  {stage:<{WIDTH}}")
            self._open = self._number
            return self._number

    def end(self, key: int, took: str) -> None:
        """End the line with the time that it ``took``, if it was done."""
        with self._lock:
            stage = self._stages.pop(key)
            if self._open == key:
                _say(f"{took}\n")
                self._open = None
            elif took:
                self._close()
                _say(f"  {stage:<{WIDTH}}{took}\n")

    def _close(self) -> None:
        if self._open is not None:
            _say("\n")
            self._open = None


def _say(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except BrokenPipeError:  # nobody follows the progress; the work goes on
        discard(sys.stderr)


_TERMINAL, _LINES = _Terminal(), _Lines()
