"""Load what tracing needs while the float64 network runs: the one is Python's work, the other torch's own.

It is torch alone, whose modules import each other and nothing of ours; where that fails, it fails again, and in words,
where it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Thread

TRACING = "torch._dynamo"


@contextmanager
def tracing_loaded_meanwhile() -> Iterator[None]:
    """Import torch's tracing beside the block, and wait for it at the end."""
    thread = Thread(target=_load, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _load() -> None:
    with suppress(Exception):
        import_module(TRACING)
