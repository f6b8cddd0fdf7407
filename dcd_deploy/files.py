"""Reading refused early with a plain reason; writing whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dcd_deploy.errors import InputFileError, OutputError

PREFIX = ".dcd-deploy-"
BLOCK_BYTES = 1 << 20
HELD_BACK = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


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
        raise InputFileError(
            expected=f"{expected} at '{path}'", but=reason, advice="check the path or fetch the file again"
        )
    return path


def suffix_of(path: str | os.PathLike[str]) -> str:
    """Return the suffix of a file's name, ".onnx" also of MODEL.ONNX."""
    return Path(path).suffix.lower()


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
        return digest.hexdigest()


def check_writable(folder: Path) -> None:
    """Raise OutputError if ``folder``, or the nearest folder above it that exists, cannot be written."""
    with _output_errors(folder):
        nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(0, f"'{nearest}' is not a folder")
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=nearest):  # asking for permission is not enough: try it
            pass


def check_no_folder(targets: Iterable[Path]) -> None:
    """Raise OutputError if a folder is where a file is to go."""
    for target in targets:
        if target.is_dir() and not target.is_symlink():
            raise OutputError(
                expected=f"to write the file '{target}'",
                but="there is a folder of that name",
                advice="nothing was changed: choose another `name` or `out`, or move the folder away",
            )


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder inside ``folder``; when the block ends well, move what lies in it into ``folder``.

    When the block or a move fails or is interrupted the hidden folder goes, and files already in ``folder`` stay, or
    become again, as they were.

    Raises:
        OutputError: ``folder`` cannot be made or written, a folder is where a file is to go, or the disk is full.
    """
    with _output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
        try:
            yield stage
            staged = sorted(stage.iterdir())
            kept = Path(tempfile.mkdtemp(prefix=PREFIX, dir=stage))
            check_no_folder(folder / path.name for path in staged)
            with _interruptions_held_back():
                _move(staged, folder, kept)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; what was at ``path`` before stays if it cannot be written.

    Raises:
        OutputError: as ``staging`` does, or ``path`` is a folder.
    """
    with staging(path.parent) as stage:
        (stage / path.name).write_bytes(content)


def _move(staged: Iterable[Path], folder: Path, kept: Path) -> None:
    """Move all files into ``folder``, or none: what they replace is kept in ``kept`` until all have moved."""
    moved: list[Path] = []
    try:
        for path in staged:
            target = folder / path.name
            _keep(target, kept / path.name)
            path.replace(target)
            moved.append(target)
    except BaseException:
        for target in moved:
            _restore(kept / target.name, target)
        raise


def _keep(target: Path, place: Path) -> None:
    """Give what is at ``target``, if anything, a second name, so that at no moment there is nothing under the first."""
    if not os.path.lexists(target):
        return
    try:
        os.link(target, place, follow_symlinks=False)
    except (OSError, NotImplementedError):  # a file system without hard links
        shutil.copy2(target, place, follow_symlinks=False)


def _restore(place: Path, target: Path) -> None:
    with suppress(OSError):  # the failure that led here is the one to report
        if os.path.lexists(place):
            place.replace(target)
        else:
            target.unlink()


@contextmanager
def _interruptions_held_back() -> Iterator[None]:
    """Let a request to stop wait until the block is done.

    Not by a signal mask: that is one thread's, and a runtime's thread would take the signal for this one.
    """
    if threading.current_thread() is not threading.main_thread():  # Python's handlers run in the main thread alone
        yield
        return
    held: list[int] = []
    handlers = {number: signal.getsignal(number) for number in HELD_BACK}
    handlers = {number: handler for number, handler in handlers.items() if handler is not None}  # None: not Python's
    try:
        for number in handlers:
            signal.signal(number, lambda number, _: held.append(number))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if held:
        signal.raise_signal(held[0])


@contextmanager
def _output_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"expected to write into '{folder}', but: {reason}; nothing was changed there: choose another `out`, "
            "or make room"
        ) from error
