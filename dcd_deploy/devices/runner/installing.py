"""An environment of our own on the device, beside the cache: numpy and the runtimes, from wheels, by its own pip."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

VENV = "venv"
WORDS = 600  # characters of what pip said last


def install(folder: Path, wanted: list[list[str]], time_limit: float) -> dict[str, Any]:
    """Make the environment anew in ``folder``; of each list in ``wanted`` the first package that has a wheel.

    Returns for each list what became of it: ``installed`` (a name, or none) and ``words`` (what pip said last).
    Where the environment itself cannot be made, ``fault`` says why.
    """
    place = folder / VENV
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fault = _run([sys.executable, "-m", "venv", "--clear", str(place)], time_limit)
    if fault is not None:
        shutil.rmtree(place, ignore_errors=True)
        return {"fault": fault}
    return {"packages": [_first(place / "bin" / "python", names, time_limit) for names in wanted]}


def _first(python: Path, names: list[str], time_limit: float) -> dict[str, Any]:
    words: str | None = ""
    for name in names:
        options = ["--quiet", "--disable-pip-version-check", "--no-input", "--only-binary=:all:"]
        words = _run([str(python), "-m", "pip", "install", *options, name], time_limit)
        if words is None:
            return {"installed": name, "words": ""}
    return {"installed": None, "words": words}


def _run(command: list[str], time_limit: float) -> str | None:
    """Return None when it went well, else what the command said last."""
    try:
        done = subprocess.run(  # noqa: S603 - our own Python, and names that the table of packages has
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=time_limit, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not done within {time_limit:g} s"
    text = (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace").strip()
    return None if done.returncode == 0 else text[-WORDS:] or f"exit code {done.returncode}"
