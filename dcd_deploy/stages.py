"""Hidden folders in which files are made before they move, all together, to where they belong.

    folder/.dcd-deploy-0123456789abcdef/
        new/       the files that are made
        moving     their names, once all are made and begin to move
        old/       what they replace
        held       open as long as its process lives, where folders cannot be locked

A process that is killed leaves its stage. The next that makes one beside it undoes what had moved by half, and removes
what the dead left; a stage whose process lives is locked, and stays.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where an open file keeps its folder from being removed
    fcntl = None  # type: ignore[assignment]

PREFIX = ".dcd-deploy-"
MOVING, HELD = "moving", "held"
TRIES = 5
SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))  # that end a process

_own: dict[Path, int] = {}  # the stages of this process, and the descriptors that hold them


class Stage:
    """One of these folders: files are made in ``new``, and ``move`` brings them into ``folder``, all or none."""

    def __init__(self, place: Path) -> None:
        self.place, self.folder = place, place.parent
        self.new, self.old = place / "new", place / "old"

    def move(self) -> None:
        """Move all that is in ``new``; what it replaces is kept in ``old`` until everything has moved."""
        names = sorted(path.name for path in self.new.iterdir())
        journal = self.place / f"{MOVING}.new"
        journal.write_text(json.dumps(names), encoding="utf-8")
        journal.replace(self.place / MOVING)
        try:
            for name in names:
                _keep(self.folder / name, self.old / name)
                (self.new / name).replace(self.folder / name)
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Bring back what was there before a move that did not come to its end; of any other there is nothing to do."""
        names = self._moving()
        if not any(os.path.lexists(self.new / name) for name in names):
            return
        for name in names:
            if not os.path.lexists(self.new / name):
                _restore(self.old / name, self.folder / name)

    def _moving(self) -> list[str]:
        with suppress(OSError, ValueError, RecursionError):
            names = json.loads((self.place / MOVING).read_text(encoding="utf-8"))
            if isinstance(names, list):  # it may have been put there by somebody else: plain names alone
                return [name for name in names if isinstance(name, str) and name == Path(name).name and name != ".."]
        return []


@contextmanager
def stage_in(folder: Path) -> Iterator[Stage]:
    """Yield a stage in ``folder``, which exists; in the end it is gone, whatever happens.

    Raises:
        OSError: it cannot be made.
    """
    clear_leavings(folder)
    place = folder / f"{PREFIX}{secrets.token_hex(8)}"
    try:
        _make(place)
        yield Stage(place)
    finally:
        with interruptions_held_back():
            _remove(place)


def remove_own() -> None:
    """Remove all stages of this process, which is about to end."""
    for place in list(_own):
        _remove(place)


def clear_leavings(folder: Path) -> None:
    """Put in order, and remove, what processes that are dead left in ``folder``."""
    with suppress(OSError):
        for place in sorted(folder.glob(f"{PREFIX}*")):
            if place not in _own and place.is_dir() and not place.is_symlink():
                _clear(place)


def _clear(place: Path) -> None:
    lock = None
    try:
        if fcntl is None:
            with suppress(FileNotFoundError):
                (place / HELD).unlink()
        else:
            lock = os.open(place, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        Stage(place).undo()
        shutil.rmtree(place, ignore_errors=True)
    except OSError:  # somebody's who lives
        pass
    finally:
        if lock is not None:
            os.close(lock)


def _make(place: Path) -> None:
    """Make a stage and hold it; another process may take it for a leaving just before it is held."""
    for last in [False] * (TRIES - 1) + [True]:
        _own[place] = -1
        place.mkdir(mode=0o700)
        try:
            _own[place] = _held(place)
            (place / "new").mkdir()
            (place / "old").mkdir()
        except FileNotFoundError:
            if last:
                raise
        else:
            return


def _held(place: Path) -> int:
    """Return a descriptor that holds a stage as long as it is open."""
    if fcntl is None:
        return os.open(place / HELD, os.O_CREAT | os.O_RDWR)
    descriptor = os.open(place, os.O_RDONLY)
    with suppress(OSError):  # a file system without locks, where nobody clears either
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _remove(place: Path) -> None:
    descriptor = _own.get(place, -1)
    if descriptor >= 0 and fcntl is None:
        os.close(descriptor)
    shutil.rmtree(place, ignore_errors=True)
    if descriptor >= 0 and fcntl is not None:
        os.close(descriptor)
    _own.pop(place, None)


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
def interruptions_held_back() -> Iterator[None]:
    """Let a request to stop wait until the block is done.

    Not by a signal mask: that is one thread's, and a runtime's thread would take the signal for this one.
    """
    if threading.current_thread() is not threading.main_thread():  # Python's handlers run in the main thread alone
        yield
        return
    held: list[int] = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
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
