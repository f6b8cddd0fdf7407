"""An emulated core, and whether this machine can run it, told with nothing emulated.

And the one command that makes all that emulation needs, and proves that it works.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.emulation.cores import CORES, Core
from dcd_deploy.emulation.executorch import COMPILER, RUNTIME
from dcd_deploy.emulation.plugin import compiled_plugin
from dcd_deploy.emulation.programs import MAKING, RUNNING, check_counts, check_programs, install_programs, qemu_version
from dcd_deploy.emulation.root import installed_root, make_root, wheel_versions
from dcd_deploy.errors import DeviceLackError
from dcd_deploy.made_once import cache_folder
from dcd_deploy.progress import Progress, silent

NO_TIMES = "counts instructions and memory traffic, and verifies; it never gives times"


@dataclass(frozen=True)
class EmulatedCore:
    """A core as it is emulated; ``lacks`` says what is missing to run it, ``counting`` why it cannot be counted on.

    ``packages`` are the versions of the runtimes in the aarch64 root, if that was made; ``caches`` the modelled ones.
    """

    core: str
    product: str
    features: tuple[str, ...]
    caches: str
    qemu: str | None = None
    python: str | None = None
    packages: dict[str, str] | None = None
    lacks: str | None = None
    counting: str | None = None
    note: str = NO_TIMES


def read_core(core: Core) -> EmulatedCore:
    """Return what ``core`` is, whether ``setup-emulated`` was done for this machine's versions, and what is missing."""
    caches = f"L1 {core.l1.kib} KiB in {core.l1.ways} ways, L2 {core.l2.kib} KiB in {core.l2.ways} ways"
    facts = (core.name, core.product, tuple(core.features.split()), caches)
    qemu = None
    try:
        check_programs(RUNNING)
        qemu = qemu_version()
        root = installed_root()
    except DeviceLackError as error:
        return EmulatedCore(*facts, qemu, lacks=str(error))
    return EmulatedCore(*facts, qemu, root.python, dict(root.versions), counting=_no_counts(qemu))


def _no_counts(qemu: str) -> str | None:
    try:
        check_counts(qemu)
    except DeviceLackError as error:
        return str(error)
    return None


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
        install_programs((*MAKING, *([COMPILER] if RUNTIME in wheel_versions() else [])), progress)
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
