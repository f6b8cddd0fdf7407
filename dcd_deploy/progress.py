"""What a long function tells its caller while it runs: the stage it is in, and how that ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Progress = Callable[[str], AbstractContextManager[None]]
"""Called with a stage's name; the stage lasts as long as the returned context."""


@contextmanager
def silent(stage: str) -> Iterator[None]:
    """Say nothing."""
    del stage
    yield
