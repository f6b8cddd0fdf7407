"""What a runtime said before its process ended, as one line that a person can act on."""

from __future__ import annotations

import re

RAISED = re.compile(r"^[\w.]*(?:[Ee]rror|Exception|Exit|Interrupt)\b", re.MULTILINE)  # behind Python's traceback
TRACEBACK, STACK = "Traceback (most recent call last)", "Stack backtrace:"  # Python's, tract's
PLACES = re.compile(r"OpenCV\([^)]*\) \S+: error: \([^)]*\) |in function '[^']*'\s*")  # in OpenCV's own sources
OURS = "RuntimeError: "  # by a module here, where the runtime has words on its streams alone
COMPLAINTS = re.compile(r"layer \S+ not exists or registered|load_param .* failed|These Op Not Support: .*")


def last_words(stdout: str, stderr: str) -> str:
    """Return what the last exception said, with what native code complained of; "" if there is nothing."""
    first = max((found.start() for found in RAISED.finditer(stderr)), default=None)
    lines = [line.strip("> ").strip() for line in stderr[first or 0 :].partition(STACK)[0].splitlines()]
    said = [line for line in lines if any(map(str.isalnum, line))]
    if first is None:
        return said[-1] if said else ""
    message = " ".join(PLACES.sub("", " ".join(said)).split())
    native = COMPLAINTS.search(f"{stderr.partition(TRACEBACK)[0]}\n{stdout}")
    ours = message.removeprefix(OURS)
    return f"{ours} ({native[0].strip()})" if native and ours != message else message
