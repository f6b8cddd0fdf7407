"""An environment of our own on the device, beside the cache: numpy and the runtimes, from wheels, by its own pip."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

VENV = "venv"
BLOCK = 1 << 16
WORDS = 600  # bytes of what pip said last


def install(folder: Path, wanted: list[list[str]], time_limit: float) -> dict[str, Any]:
    """Make the environment in ``folder``, or complete it; of each list in ``wanted`` the first package with a wheel.

    Returns for each list what became of it: ``installed`` (a name, or none) and ``words`` (what pip said last).
    Where the environment itself cannot be made, ``fault`` says why. One without the first list's package, or with
    that alone, does not stay: it would hide the Python that is there.

    Raises:
        EOFError: the other side of the line is gone; nothing of the environment stays.
    """
    place, useful = folder / VENV, False
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fault = _run([sys.executable, "-m", "venv", str(place)], time_limit)
        if fault is not None:
            return {"fault": fault}
        made = [_first(place / "bin" / "python", names, time_limit) for names in wanted]
        found = [each["installed"] is not None for each in made]
        useful = found[0] and any(found[1:])
        return {"packages": made}  # noqa: TRY300 - what else could fail has happened
    except OSError as error:
        return {"fault": str(error)[-WORDS:]}
    finally:
        if not useful:
            shutil.rmtree(place, ignore_errors=True)


def _first(python: Path, names: list[str], time_limit: float) -> dict[str, Any]:
    words: str | None = ""
    for name in names:
        options = ["--quiet", "--disable-pip-version-check", "--no-input", "--only-binary=:all:"]
        words = _run([str(python), "-m", "pip", "install", *options, name], time_limit)
        if words is None:
            return {"installed": name, "words": ""}
    return {"installed": None, "words": words}


def _run(command: list[str], time_limit: float) -> str | None:
    """Return None when it went well, else what the command said last; it ends with the line to the other side."""
    process = subprocess.Popen(  # noqa: S603 - our own Python, and names that the table of packages has
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that what it starts can be ended with it
    )
    assert process.stdout is not None
    try:
        text = _words(process.stdout.fileno(), time.monotonic() + time_limit)
        code = None if text is None else process.wait()
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    if text is None:
        return f"not done within {time_limit:g} s"
    return None if code == 0 else text.decode("utf-8", "replace").strip() or f"exit code {code}"


def _words(pipe: int, until: float) -> bytes | None:
    """Return the last of what comes through ``pipe`` to its end, or None where that takes too long."""
    words = b""
    while True:
        ready = select.select([0, pipe], [], [], max(0.0, until - time.monotonic()))[0]
        if 0 in ready:  # nothing is due on the line now but its end
            raise EOFError
        if not ready:
            return None
        block = os.read(pipe, BLOCK)
        if not block:
            return words
        words = (words + block)[-WORDS:]
