"""The one command that makes all that emulation needs, and proves that it works."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.devices.emulated.cores import CORES
from dcd_deploy.devices.emulated.made_once import cache_folder
from dcd_deploy.devices.emulated.plugin import compiled_plugin
from dcd_deploy.devices.emulated.programs import MAKING, install_programs, qemu_version
from dcd_deploy.devices.emulated.root import make_root
from dcd_deploy.errors import DeviceLackError
from dcd_deploy.progress import Progress, silent


@dataclass(frozen=True)
class EmulationSetup:
    """What there is now; ``counting`` is why counts cannot be had, where they cannot."""

    folder: Path
    qemu: str
    python: str
    versions: dict[str, str]
    cores: tuple[str, ...]
    counting: str | None
    seconds: float


def set_up_emulation(*, install: bool = False, progress: Progress = silent) -> EmulationSetup:
    """Make what is not there yet: the aarch64 root, the wheels, each core's files, the counting plugin.

    Programs that are missing are installed only if ``install``.

    Raises:
        DeviceLackError: a program is missing, or something cannot be had.
        OutputError: no room in the cache folder.
    """
    start = time.perf_counter()
    if install:
        install_programs(MAKING, progress)
    version = qemu_version()
    root = make_root(progress)
    for core in CORES.values():
        root.for_core(core)
    counting = None
    try:
        with progress("counting plugin"):
            compiled_plugin()
    except DeviceLackError as error:
        counting = str(error)
    seconds = time.perf_counter() - start
    return EmulationSetup(cache_folder(), version, root.python, root.versions, tuple(CORES), counting, seconds)
