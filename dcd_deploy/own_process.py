"""A process that is ours: what is set once for all of it, which a library must not decide for its caller, and others.

Another process of ours is this program too, begun at ``serve()`` of one of its modules; both ends speak in pickles.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from typing import IO, Any, BinaryIO

POLICY, PASSIVE = "OMP_WAIT_POLICY", "PASSIVE"


def settle() -> None:
    """Set how this process computes; to be called before torch is loaded.

    torch's threads otherwise spin while they wait, and where another process wants the cores everything takes many
    times as long. And torch's modules and a trace are a million objects: looked through at every 700th new one, as
    Python does, they cost a tenth.
    """
    os.environ.setdefault(POLICY, PASSIVE)
    gc.set_threshold(50_000, 20, 100)


def begun(module: str, said: int | IO[Any]) -> subprocess.Popen[bytes]:
    """Begin a process at ``serve()`` of a module of ours; its input and output are pipes, ``said`` has its remarks."""
    begin = f"import sys; sys.path[:] = {sys.path!r}; from {module} import serve; serve()"
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-c", begin],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        start_new_session=True,  # a Ctrl-C is its parent's to handle
    )


def answers() -> BinaryIO:
    """Return this process's output, from now on for answers alone: what libraries print becomes a remark."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return output
