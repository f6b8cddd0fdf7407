"""What all ways to measure on a phone have in common: what it is, what stays there, and what goes when it fails."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.worker import Request, WorkerAnswer
from dcd_deploy.devices.adb.facts import core_kinds, snapshot
from dcd_deploy.devices.adb.phone import FOLDER, Noticing, Phone
from dcd_deploy.devices.adb.python import no_setup
from dcd_deploy.devices.device import Device, DeviceFacts
from dcd_deploy.progress import Progress


class AdbDevice(Device):
    """A phone. Files that were sent stay for the next time, unless something failed: then they go with the rest."""

    def __init__(self, name: str, phone: Phone) -> None:
        self._name = name
        self.phone = phone
        self.first = snapshot(phone)
        self.kinds = core_kinds(self.first)
        self._noticing = Noticing()
        self._closing = threading.Lock()

    @property
    def name(self) -> str:
        """What the user calls it."""
        return self._name

    @abstractmethod
    def environment(self) -> Environment:
        """Return what it is now."""

    def describe(self) -> DeviceFacts:
        """Return what it is."""
        free = self.phone.free_bytes()
        found = self.environment()
        return DeviceFacts(self.name, found, self.kinds, None if free is None else free // 1_000_000, found.notes)

    def cores(self) -> Sequence[int]:
        """Return the numbers of its cores."""
        return sorted(cpu for kind in self.kinds for cpu in kind.cpus)

    def prepare(self, models: Sequence[Path], runtime: str, progress: Progress) -> None:
        """Send what is to be measured, and what measures it."""
        self.phone.hold.take()
        with self._noticing.within():
            self._prepare(models, runtime, progress)

    def ask(self, request: Request, time_limit: float) -> WorkerAnswer:
        """Measure what is asked for."""
        self.phone.hold.take()
        with self._noticing.within():
            return self._ask(request, time_limit)

    def setup(self, progress: Progress) -> None:
        """Refuse: nothing can be installed on a phone in this way.

        Raises:
            DeviceLackError: always.
        """
        del progress
        raise no_setup()

    def clean(self) -> None:
        """Remove all that this program ever left on the phone."""
        self.phone.hold.take()
        self.phone.remove(FOLDER)

    def close(self) -> None:
        """Let go of it: what is under way there ends, and after a failure nothing that was sent stays."""
        self.phone.adb.programs.stop()
        with self._closing:
            if self._noticing.failed:
                self.phone.take_back()
            self.phone.hold.release()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._noticing.failed |= error is not None
        self.close()

    @abstractmethod
    def _prepare(self, models: Sequence[Path], runtime: str, progress: Progress) -> None: ...

    @abstractmethod
    def _ask(self, request: Request, time_limit: float) -> WorkerAnswer: ...
