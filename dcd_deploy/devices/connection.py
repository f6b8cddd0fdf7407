"""A target's device while work on it goes on in one thread, and may be stopped from another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from dcd_deploy.benchmarks.process import LOCAL
from dcd_deploy.devices.device import Device
from dcd_deploy.devices.opening import open_device
from dcd_deploy.devices.target import DeviceTarget
from dcd_deploy.errors import DeviceLostError
from dcd_deploy.progress import Progress


class Connection:
    """Opened for a block, and closed by whoever is first: the end of the block, or ``stop``."""

    def __init__(self, target: DeviceTarget, progress: Progress) -> None:
        self.target = target
        self.progress = progress
        self.stopped = threading.Event()
        self._device: Device | None = None

    @property
    def here(self) -> bool:
        """Whether it is this machine, whose work an interruption can only end in the caller's thread."""
        return self.target.name.kind == LOCAL

    @contextmanager
    def opened(self) -> Iterator[Device]:
        """Connect, set up if that is wanted, and let go at the end.

        Raises:
            DeviceError: it cannot be reached or used.
        """
        options = self.target.options
        with open_device(self.target.name, replace(options, setup=False), self.progress) as device:
            self._device = device
            if self.stopped.is_set():  # while it was connecting
                raise DeviceLostError(f"{self.target.label} was let go of")
            if options.setup:  # minutes, in which ``stop`` has to find the device
                device.setup(self.progress)
            yield device

    def stop(self) -> None:
        """Close it from another thread."""
        self.stopped.set()
        if self._device is not None and not self.here:
            self._device.close()
