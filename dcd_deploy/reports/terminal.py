"""The two consoles: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from io import TextIOWrapper
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dcd_deploy.reports.numbers import plain, spelled

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
