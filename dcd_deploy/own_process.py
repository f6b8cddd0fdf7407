"""What is set once for a whole process, where the process is ours: a library must not decide it for its caller."""

from __future__ import annotations

import gc
import os

POLICY, PASSIVE = "OMP_WAIT_POLICY", "PASSIVE"


def settle() -> None:
    """Set how this process computes; to be called before torch is loaded.

    torch's threads otherwise spin while they wait, and where another process wants the cores everything takes many
    times as long. And torch's modules and a trace are a million objects: looked through at every 700th new one, as
    Python does, they cost a tenth.
    """
    os.environ.setdefault(POLICY, PASSIVE)
    gc.set_threshold(50_000, 20, 100)
