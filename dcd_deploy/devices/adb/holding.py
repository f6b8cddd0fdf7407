"""One process at a time on a phone: two would remove each other's files there, and spoil each other's times.

The lock is a file on this machine, to which the phone is plugged; the system lets go of it however its holder ends.
"""

from __future__ import annotations

import hashlib
import os
import weakref
from contextlib import suppress

from dcd_deploy.devices.emulated.made_once import cache_folder
from dcd_deploy.errors import DeviceError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Hold:
    """The lock of the phone of this ``serial``, not yet taken."""

    def __init__(self, serial: str) -> None:
        self.serial = serial
        self._end: weakref.finalize[[int], Hold] | None = None

    def take(self) -> None:
        """Take it, unless it is taken by this object; where no lock can be written it goes without.

        Raises:
            DeviceError: another one has it.
        """
        if self._end is not None or fcntl is None:
            return
        place = cache_folder().parent / "phones" / f"{hashlib.sha256(self.serial.encode()).hexdigest()[:16]}.lock"
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._end = weakref.finalize(self, os.close, file)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self.release()
                raise _busy(self.serial) from error

    def release(self) -> None:
        """Let go of it."""
        if self._end is not None:
            self._end()
            self._end = None


def _busy(serial: str) -> DeviceError:
    return DeviceError(
        expected=f"the phone '{serial}' to be free",
        found="another dcd-deploy at work on it",
        advice="start again when it is done",
    )
