"""This machine as a device among others."""

from __future__ import annotations

import shutil
import tempfile
from types import TracebackType
from typing import Self

from dcd_deploy.benchmarks.cores import core_kinds
from dcd_deploy.benchmarks.environment import read_environment
from dcd_deploy.benchmarks.place import Here
from dcd_deploy.devices.device import DeviceFacts
from dcd_deploy.errors import OptionError
from dcd_deploy.progress import Progress, silent


class LocalDevice(Here):
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
