"""What others print while our own code runs, past Python too: libraries, a user's network and its factory."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator

STDOUT, STDERR = 1, 2


@contextlib.contextmanager
def output_to_stderr() -> Iterator[None]:
    """Send what is printed to standard error while the block runs, by Python, native code or a process of its own.

    Standard output is for our result alone; a user's network may print whatever it likes.
    """
    stream = sys.stdout
    if stream is None or sys.stderr is None:  # it was started with one of them closed
        yield
        return
    with contextlib.suppress(OSError):
        stream.flush()
    output = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        with contextlib.suppress(OSError):
            stream.flush()  # of what was written to it in spite of that
        os.dup2(output, STDOUT)
        os.close(output)


@contextlib.contextmanager
def without_remarks() -> Iterator[None]:
    """Keep what libraries log and warn of off the terminal while the block runs; their errors are raised."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextlib.contextmanager
def captured_native_output() -> Iterator[Callable[[], str]]:
    """Divert file descriptor 2 into a file while the block runs; the yielded function reads what came so far.

    TFLite and its converter have no switch for their remarks. Python's own ``sys.stderr`` goes on to the terminal.
    """
    sys.stderr.flush()
    terminal = os.dup(STDERR)
    python_stderr = sys.stderr
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), STDERR)
        if _is_descriptor(python_stderr):
            sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1, encoding="utf-8", errors="replace")
        told_here = not faulthandler.is_enabled()
        if told_here:  # of a converter's crash the user would see nothing at all
            faulthandler.enable(terminal)
        try:
            yield lambda: _read(captured.fileno())
        finally:
            if told_here:
                faulthandler.disable()
            if sys.stderr is not python_stderr:
                sys.stderr.close()
                sys.stderr = python_stderr
            os.dup2(terminal, STDERR)
            os.close(terminal)


def tell_crashes() -> None:
    """Have a native crash, in a library or in the user's own network, name the line of Python that it came from."""
    with contextlib.suppress(OSError):  # standard error is closed
        faulthandler.enable(os.dup(STDERR))  # a descriptor of its own: what libraries print is put aside meanwhile


def discard_native_output() -> None:
    """Let what native libraries print from now on vanish: for the very end of a program, when they are unloaded."""
    sys.stderr.flush()
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, STDERR)
    os.close(nothing)


def _is_descriptor(stream: object) -> bool:
    """Whether a stream writes to descriptor 2, and not into a test's or a notebook's own place."""
    try:
        return bool(stream.fileno() == STDERR)  # type: ignore[attr-defined]  # that is the question
    except (AttributeError, OSError, ValueError):
        return False


def _read(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).decode(errors="replace")
