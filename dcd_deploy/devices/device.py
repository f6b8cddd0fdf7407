"""What every device offers: say what it is, and measure there. This machine is one among others.

with open_device(parse_device("ssh://pi@board")) as device:
    facts = device.describe()
    bench(cases, place=device)
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from dcd_deploy.benchmarks.environment import Environment, read_environment
from dcd_deploy.benchmarks.machine import CoreKind, core_kinds
from dcd_deploy.benchmarks.process import Here, Host
from dcd_deploy.errors import OptionError
from dcd_deploy.progress import Progress, silent


@dataclass(frozen=True)
class DeviceFacts:
    """What is known of a device. ``cores`` has the fast kind first; ``free_mb`` is the space where models go.

    Versions of Python and the runtimes that were found are in ``environment``; ``notes`` say, each in a line, what a
    user should know ("no thermal zone can be read", "measured in the phone's shell, …").
    """

    name: str
    environment: Environment
    cores: tuple[CoreKind, ...] = ()
    free_mb: int | None = None
    notes: tuple[str, ...] = ()


class Device(Host, Protocol):
    """A place that has to be reached first, and is let go of. Opening it connects; a failure is a DeviceError."""

    def describe(self) -> DeviceFacts:
        """Return what it is."""

    def setup(self, progress: Progress) -> None:
        """Install there what measuring needs, where that can be done.

        Raises:
            DeviceError: it cannot be done, or there is nothing to be installed on such a device.
        """

    def clean(self) -> None:
        """Remove from the device all that this program ever left there."""

    def close(self) -> None:
        """Let go of it; a measurement that is under way there ends. May be called from any thread, and twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LocalDevice(Here, Device):
    """This machine; nothing has to be reached, and nothing is left behind."""

    def describe(self) -> DeviceFacts:
        """Return what this machine is."""
        free_mb = shutil.disk_usage(tempfile.gettempdir()).free // 10**6
        return DeviceFacts(self.name, read_environment(), core_kinds(), free_mb)

    def setup(self, progress: Progress = silent) -> None:
        """Refuse: what is missing here is installed with pip, under the user's eyes.

        Raises:
            OptionError: always.
        """
        del progress
        raise OptionError(
            expected="`setup` for a device other than this machine",
            found="this machine",
            advice="here: pip install 'dcd-deploy[tflite]'",
        )

    def clean(self) -> None:
        """Do nothing: nothing is kept here."""

    def close(self) -> None:
        """Do nothing."""
