"""Reading refused early with a plain reason; writing whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dcd_deploy.errors import InputFileError, OutputError

PREFIX = ".dcd-deploy-"


def existing_file(path: str | os.PathLike[str], expected: str) -> Path:
    """Return ``path`` if it is a readable file that is not empty.

    Raises:
        InputFileError: it is not; the message says that ``expected`` (such as "a checkpoint") was wanted there.
    """
    path = Path(path)
    reason = None
    if not path.exists():
        reason = "there is no such file"
    elif not path.is_file():
        reason = "this is not a file"
    elif not os.access(path, os.R_OK):
        reason = "no permission to read it"
    elif path.stat().st_size == 0:
        reason = "the file is empty"
    if reason:
        raise InputFileError(f"expected {expected} at '{path}', but {reason}; check the path or fetch the file again")
    return path


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_writable(folder: Path) -> None:
    """Raise OutputError if ``folder``, or the nearest folder above it that exists, cannot be written."""
    with _output_errors(folder):
        nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(0, f"'{nearest}' is not a folder")
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=nearest):  # asking for permission is not enough: try it
            pass


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder inside ``folder``; when the block ends well, move what lies in it into ``folder``.

    When the block fails or is interrupted the hidden folder goes, and files already in ``folder`` stay as they were.

    Raises:
        OutputError: ``folder`` cannot be made or written, or the disk is full.
    """
    with _output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
        try:
            yield stage
            for path in sorted(stage.iterdir()):
                path.replace(folder / path.name)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def _output_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"expected to write into '{folder}', but: {reason}; nothing was changed there: choose another --out, "
            "or make room"
        ) from error
