"""What an emulated core is, and whether this machine can run it: read from what is there, with nothing emulated."""

from __future__ import annotations

from dataclasses import dataclass

from dcd_deploy.devices.emulated.cores import Core
from dcd_deploy.devices.emulated.programs import RUNNING, check_counts, check_programs, qemu_version
from dcd_deploy.devices.emulated.root import installed_root
from dcd_deploy.errors import DeviceLackError

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
