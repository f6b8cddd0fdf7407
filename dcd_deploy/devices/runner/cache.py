"""What was sent, kept by its content: "SHA-256.suffix" in one folder of the user, so that nothing is sent twice."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

NAME = re.compile(r"[0-9a-f]{64}\.(?:onnx|tflite|pyz|bin)")
BLOCK = 1 << 20
MARGIN = 16 * 10**6  # bytes that are to stay free
Read = Callable[[int], bytes]  # at most so many bytes, at least one unless the sender is gone


class FileCache:
    """The folder; it is made when the first thing is put into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return where ``name`` lies or would lie.

        Raises:
            ValueError: this is not a name of ours, so it could lead out of the folder.
        """
        if not NAME.fullmatch(name):
            raise ValueError(f"expected a SHA-256 and a suffix, found {name[:80]!r}")
        return self.folder / name

    def has(self, name: str) -> bool:
        """Whether ``name`` is there."""
        return self.path(name).is_file()

    def free(self) -> int:
        """Return how many bytes can still be put here."""
        place = next(place for place in (self.folder, *self.folder.parents) if place.exists())
        return max(0, shutil.disk_usage(place).free - MARGIN)

    def put(self, name: str, size: int, read: Read) -> None:
        """Keep what ``read`` yields under ``name``: whole and of that content, or not at all.

        All ``size`` bytes are read, also where they cannot be kept, so that what follows on the line is understood.

        Raises:
            OSError: it cannot be written.
            ValueError: something else came than ``name`` says.
        """
        target, digest = self.path(name), hashlib.sha256()
        part = _Part(target.with_name(f".{name}.{os.getpid()}"))
        try:
            for block in _blocks(read, size):
                digest.update(block)
                part.write(block)
            part.close()
            if part.fault is not None:
                raise part.fault
            if digest.hexdigest() != name.partition(".")[0]:
                raise ValueError("the content is not what its name says; it was damaged on the way")
            part.path.replace(target)
        finally:
            part.close()
            _remove(part.path)

    def tidy(self) -> None:
        """Remove what was left half-written by a session that was cut off."""
        for part in self.folder.glob(".*.*"):
            pid = part.name.rpartition(".")[2]
            if pid.isdigit() and not Path(f"/proc/{pid}").exists():
                _remove(part)

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


class _Part:
    """A file while it comes in. What went wrong with it is kept, not raised: its bytes are still to be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fault: OSError | None = None
        self._file: BinaryIO | None = None
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            self.fault = error

    def write(self, block: bytes) -> None:
        """Write, if all went well so far."""
        if self._file is None or self.fault is not None:
            return
        try:
            while block:
                block = block[self._file.write(block) :]
        except OSError as error:
            self.fault = error

    def close(self) -> None:
        """Close it; what the file system says only now counts too."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self.fault = self.fault or error


def _blocks(read: Read, size: int) -> Iterator[bytes]:
    while size:
        block = read(min(BLOCK, size))
        if not block:
            raise EOFError("the connection ended in the middle of a file")
        size -= len(block)
        yield block


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
