"""One trial in a process of its own, which ends when its time is over, or when nobody waits for it any more.

The process is forked, not started: that needs no path to Python, and no second start of it where starting is slow.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from contextlib import suppress
from typing import Any

BLOCK = 1 << 16
WORDS = 300  # bytes of what it said last


def run_trial(request: dict[str, Any], time_limit: float) -> dict[str, Any] | None:
    """Return what the worker answered, or how it ended without; None when the other side of the line is gone."""
    answer, remarks = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        _work(request, answer, remarks)
    os.close(answer[1])
    os.close(remarks[1])
    try:
        said = _wait(answer[0], remarks[0], time.monotonic() + time_limit)
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        os.close(answer[0])
        os.close(remarks[0])
    if said is None:
        return None
    text, words, late = said
    if late:
        return {"late": True}
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        return {"ended": {"code": code, "words": words.decode("utf-8", "replace")}}
    return found


def _work(request: dict[str, Any], answer: tuple[int, int], remarks: tuple[int, int]) -> None:
    """Be the worker, and end."""
    code = 1
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(remarks[1], 1)
        os.dup2(remarks[1], 2)
        from dcd_deploy.benchmarks.worker import respond  # noqa: PLC0415 - numpy, which a device may lack

        with os.fdopen(answer[1], "w", encoding="utf-8") as stream:
            json.dump(respond(request), stream)
        code = 0
    except BaseException as error:  # noqa: BLE001 - the process ends here, whatever it was
        with suppress(OSError):
            os.write(2, f"\n{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def _wait(answer: int, remarks: int, until: float) -> tuple[bytes, bytes, bool] | None:
    """Return what came through both pipes, and whether it came too late."""
    said, words, open_pipes = b"", b"", [answer, remarks]
    while answer in open_pipes:
        left = until - time.monotonic()
        ready = select.select([0, *open_pipes], [], [], max(0.0, left))[0]
        if 0 in ready:  # nothing is due on the line now but its end
            return None
        if not ready:
            return said, words, True
        for pipe in ready:
            block = os.read(pipe, BLOCK)
            if not block:
                open_pipes.remove(pipe)
            elif pipe == answer:
                said += block
            else:
                words = (words + block)[-WORDS:]
    return said, words, False
