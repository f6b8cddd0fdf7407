"""What devices are: each asked at the same time, and each answer, or why there is none, kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from dcd_deploy.devices.connection import Connection
from dcd_deploy.devices.device import DeviceFacts
from dcd_deploy.devices.parallel import run_all
from dcd_deploy.devices.target import DeviceTarget
from dcd_deploy.emulation.cores import EMULATED, core_named
from dcd_deploy.emulation.setup import EmulatedCore, read_core
from dcd_deploy.errors import DcdDeployError, DeviceError, DeviceLackError
from dcd_deploy.progress import Progress, silent


@dataclass(frozen=True)
class DeviceState:
    """A device, and what it is; ``error`` says why that is not known; ``cleaned``, that it was left as before.

    Of an emulated core ``core`` says what it is; that one is not set up is an error only where it was asked for.
    """

    name: str
    device: str
    facts: DeviceFacts | None = None
    error: str | None = None
    exit_code: int = 0
    cleaned: bool = False
    core: EmulatedCore | None = None


@dataclass(frozen=True)
class DeviceList:
    """All devices that were asked for."""

    devices: tuple[DeviceState, ...]


def list_devices(
    targets: Sequence[DeviceTarget], *, clean: bool = False, found: bool = False, progress: Progress = silent
) -> DeviceList:
    """Return what the targets are, which were ``found`` or asked for; with ``clean`` remove what is kept on them too.

    Raises:
        DcdDeployError: the first that cannot be reached or used; ``result`` of a DeviceError has them all.
    """
    works = [
        _Core(target, must=not found) if target.name.kind == EMULATED else _Asking(target, progress, clean=clean)
        for target in targets
    ]
    run_all(works)
    listed = DeviceList(tuple(work.state for work in works))
    failed = [work.failed for work in works if work.failed is not None]
    if failed and len(works) > 1:
        raise DeviceError(f"{len(failed)} of {len(works)} devices cannot be used: {failed[0]}", listed)
    if failed:
        raise failed[0]
    return listed


class _Core:
    """One emulated core, looked up here."""

    here = True

    def __init__(self, target: DeviceTarget, *, must: bool) -> None:
        self.state = DeviceState(target.label, target.name.text)
        self.failed: DcdDeployError | None = None
        self._core, self._must = core_named(target.name.part), must

    def run(self) -> None:
        """Look."""
        core = read_core(self._core)
        if core.lacks is not None and self._must:
            self.failed = DeviceLackError(core.lacks)
            self.state = replace(self.state, error=core.lacks, exit_code=self.failed.exit_code)
        self.state = replace(self.state, core=core)

    def stop(self) -> None:
        """Do nothing: it is over at once."""


class _Asking:
    """One device asked what it is."""

    def __init__(self, target: DeviceTarget, progress: Progress, *, clean: bool) -> None:
        self.target = target
        self.clean = clean
        self.state = DeviceState(target.label, target.name.text)
        self.failed: DcdDeployError | None = None

        def stage(text: str) -> AbstractContextManager[None]:
            return progress(f"{target.label}: {text}")

        self.connection = Connection(target, stage)
        self.here, self.stop = self.connection.here, self.connection.stop

    def run(self) -> None:
        """Ask."""
        name = (self.target.label, self.target.name.text)
        try:
            with self.connection.opened() as device:
                facts = device.describe()
                if self.clean:
                    device.clean()
                self.state = DeviceState(*name, facts, cleaned=self.clean)
        except DcdDeployError as error:
            self.failed = error
            self.state = DeviceState(*name, None, str(error), error.exit_code)
