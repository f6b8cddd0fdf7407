"""Whether anything went wrong on a phone, however that was dealt with; then nothing of it is to stay there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Noticing:
    """Remembers that a block ended in an error."""

    def __init__(self) -> None:
        self.failed = False

    @contextmanager
    def within(self) -> Iterator[None]:
        """Notice what goes wrong within."""
        try:
            yield
        except BaseException:
            self.failed = True
            raise
