"""Ctrl-C, requests to terminate, a terminal that is closed: one line and exit code 130, whatever was interrupted."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from dcd_deploy.errors import INTERRUPTED
from dcd_deploy.stages import SIGNALS, remove_own

_received: list[int] = []


def listen() -> None:
    """Let all three raise KeyboardInterrupt, so that nothing is left half-written, and remember that they came."""
    for number in SIGNALS:
        if (
            signal.getsignal(number) != signal.SIG_IGN
        ):  # a shell lets its background jobs ignore Ctrl-C, and nohup a hang-up
            signal.signal(number, _interrupt)
    sys.unraisablehook = _unraisable


@contextmanager
def heeded() -> Iterator[None]:
    """Make an interruption that a library swallowed, or turned into another error, the KeyboardInterrupt that it was.

    Torch swallows one that comes while it loads numpy, and numpy, half loaded, fails in a way of its own.
    """
    try:
        yield
    except Exception:
        if _received:
            raise KeyboardInterrupt from None
        raise
    if _received:
        raise KeyboardInterrupt


def leave_interrupted() -> NoReturn:
    """Say so and exit with 130; after an interrupted exec() inside torch, Python would kill itself with the signal."""
    for number in SIGNALS:  # a second Ctrl-C must not cut the line off
        signal.signal(number, signal.SIG_IGN)
    remove_own()
    with suppress(OSError):
        sys.stdout.flush()
    with suppress(OSError):
        sys.stderr.write("dcd-deploy: error: interrupted; nothing was left half-written\n")
        sys.stderr.flush()
    os._exit(INTERRUPTED)


def leave(end: SystemExit) -> None:
    """Exit as ``end`` says, but without taking torch's modules apart first, which takes a second and serves nobody.

    What is registered for the end of the program runs. Where the last words cannot be written, Python says so its way.
    """
    if not isinstance(end.code, int | None) or "torch" not in sys.modules:
        raise end
    atexit._run_exitfuncs()  # noqa: SLF001 - Python's own, and the only way to run them before leaving
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        raise end from None
    os._exit(end.code or 0)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del frame
    _received.append(number)
    raise KeyboardInterrupt


def _unraisable(ignored: sys.UnraisableHookArgs) -> None:
    """Say nothing of an interruption that came where Python can raise none, as in ``__del__``: ``heeded`` raises it."""
    if ignored.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(ignored)
