"""What a user's Python file sets for its whole process is undone: the depth of calls, and what the root logger says.

With a low depth everything behind it fails, and with all that is logged everything that torch traces is printed.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def settings_kept() -> Iterator[None]:
    """Leave the recursion limit, and the root logger's level and handlers, as they were before the block."""
    limit, root = sys.getrecursionlimit(), logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
        root.setLevel(level)
        root.handlers[:] = handlers
