"""Things that are made once and kept in the user's cache folder: a folder or file each, whole or not there at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import platformdirs

from dcd_deploy.errors import OutputError
from dcd_deploy.stages import stage_in


def cache_folder(part: str = "arm64") -> Path:
    """Return the folder that keeps one part of what is made: what emulation needs, or another."""
    return platformdirs.user_cache_path("dcd-deploy", appauthor=False) / part


def key_of(*parts: object) -> str:
    """Return a short name for what is made from ``parts``: other parts, another name."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def made_once(target: Path, make: Callable[[Path], None]) -> Path:
    """Return ``target``, after ``make`` made it at the path that it is given, unless it is there already.

    Raises:
        OutputError: it cannot be written.
    """
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with stage_in(target.parent) as stage:
            make(stage.new / target.name)
            with suppress(FileExistsError):  # somebody else made it at the same time
                (stage.new / target.name).rename(target)
    except OSError as error:
        if not target.exists():
            raise _unwritable(target, error) from error
    return target


def _unwritable(target: Path, error: OSError) -> OutputError:
    elsewhere = "" if os.name == "nt" else ", or set XDG_CACHE_HOME to a folder that has it"
    return OutputError(f"expected to write '{target}', but: {error.strerror or error}; make room there{elsewhere}")
