"""The two consoles, and how numbers and foreign texts are written there.

Results go to standard output, progress and errors to standard error. On a terminal the stages that run stand on one
line, and each that ended on a line of its own. Elsewhere a stage's line is begun when it starts and ended when it ends,
or, where another came between, written again with its time. Several devices may be at work at once.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TextIO

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from dcd_deploy.errors import PARAMETER

UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(value: float) -> str:
    """Return 300774272 as ``301 M``, or ``1.26 k``."""
    for size, unit in UNITS:
        if value >= size:
            return f"{value / size:.{_digits(value / size)}f} {unit}"
    return f"{value:g}"


def size(value: int) -> str:
    """Return a number of bytes as ``23.1 MB``."""
    return f"{count(value)}B" if value >= UNITS[-1][0] else f"{value} B"


def milliseconds(value: float) -> str:
    """Return three significant digits and the unit."""
    return f"{value:.{max(0, _digits(value) + (value < 1))}f} ms"


def percent(share: float) -> str:
    """Return 0.0881 as ``8.8 %``."""
    return f"{100 * share:.1f} %"


def error(value: float) -> str:
    """Return a relative error as ``4.4e-06``."""
    return f"{value:.1e}"


def plain(text: str) -> str:
    """Return a text from a file with everything that could steer a terminal made visible instead."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def spelled(text: str) -> str:
    """Return a text of the library, which names parameters as `input_size`, with the command line's flags."""
    return PARAMETER.sub(lambda named: f"--{named[1].rstrip('_').replace('_', '-')}", text)


def _digits(value: float) -> int:
    return 2 if value < 10 else 1 if value < 100 else 0


FILE_WIDTH = 120  # of tables that go into a file or a pipe


class PipeConsole(Console):
    """A console that leaves a broken pipe to ``cli``; rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        """Raise the error that rich is handling."""
        raise  # noqa: PLE0704 - called within the handler


def console(*, stderr: bool = False) -> Console:
    """Return a console that prints texts as they are: no markup, no guessing at numbers or links."""
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")  # a terminal that has no "×" gets a question mark, not an error
    width = None if stream.isatty() or "COLUMNS" in os.environ else FILE_WIDTH
    return PipeConsole(file=stream, markup=False, highlight=False, emoji=False, width=width)


def line(screen: Console, text: str = "") -> None:
    """Print one line, however long; the terminal folds it."""
    screen.print(plain(spelled(text)), soft_wrap=True)


def show_table(
    screen: Console, title: str, columns: Sequence[str], rows: Iterable[Iterable[str]], *, left: int = 1
) -> None:
    """Print a table whose first ``left`` columns are texts and whose others are numbers, and an empty line."""
    if title:
        screen.print(plain(title), style="bold", soft_wrap=True)
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=any(columns))
    for i, column in enumerate(columns):
        made.add_column(plain(column), justify="left" if i < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*(Text(plain(spelled(cell))) for cell in row))
    screen.print(made)
    screen.print()


def discard(stream: TextIO) -> None:
    """Send what else is written to ``stream`` nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
