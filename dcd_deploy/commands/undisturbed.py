"""What a caller has set for a training run is left as it is, and does not reach what is done here.

Under autocast a trace would be of half precision. And what is imported on the way (rich) draws from Python's ``random``
as it loads, so that a script's own shuffles would be others after its first export. What the network's own code, or a
library, sets for the whole process (``settings_kept``) is undone too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

from dcd_deploy.optional import require
from dcd_deploy.settings_kept import settings_kept


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave autocast on the CPU off while the block runs, or the function.

    Python's random numbers, its recursion limit and its root logger are left as they were.
    """
    state = random.getstate()
    try:
        with settings_kept(), require("torch").autocast("cpu", enabled=False):
            yield
    finally:
        random.setstate(state)
