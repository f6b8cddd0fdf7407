"""The emulated cores: what QEMU is told to be, what Linux would say of it, and the caches that are modelled for it.

Runtimes choose their kernels by what the core can do, and learn it from the processor and from ``/proc/cpuinfo``; the
two must be of one core, or a runtime takes instructions that are not there. Cache sizes are those of a well-known
product with the core.
"""

from __future__ import annotations

from dataclasses import dataclass

from dcd_deploy.errors import UnknownNameError

DEFAULT_CORE = "cortex-a76"
ARMV8_0 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
ARMV8_2 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
ARMV9_0 = (
    f"{ARMV8_2} jscvt fcma sha3 sha512 asimdfhm dit uscat ilrcpc flagm ssbs sb dcpodp flagm2 frint sve sve2 svei8mm "
    "svebf16 i8mm bf16"
)

EMULATED = "arm64-emulated"  # what users call a device that is none


@dataclass(frozen=True)
class Cache:
    """One level of a data cache: its size in KiB, and how many lines share a set."""

    kib: int
    ways: int


@dataclass(frozen=True)
class Core:
    """One emulated core; ``qemu`` is QEMU's word for it, ``product`` has these caches."""

    name: str
    qemu: str
    product: str
    part: int  # ARM's number of the core
    revision: str  # such as "r4p1"
    features: str
    l1: Cache
    l2: Cache

    def cpuinfo(self) -> str:
        """Return ``/proc/cpuinfo`` of a machine with one such core."""
        variant, _, patch = self.revision.removeprefix("r").partition("p")
        facts = {
            "processor": "0",
            "BogoMIPS": "100.00",
            "Features": self.features,
            "CPU implementer": "0x41",
            "CPU architecture": "8",
            "CPU variant": f"0x{variant}",
            "CPU part": f"{self.part:#05x}",
            "CPU revision": patch,
        }
        return "".join(f"{key}\t: {value}\n" for key, value in facts.items()) + "\n"


CORES = {
    core.name: core
    for core in (
        Core("cortex-a53", "cortex-a53", "a Raspberry Pi 3", 0xD03, "r0p4", ARMV8_0, Cache(32, 4), Cache(512, 16)),
        Core("cortex-a72", "cortex-a72", "a Raspberry Pi 4", 0xD08, "r0p3", ARMV8_0, Cache(32, 2), Cache(1024, 16)),
        Core("cortex-a76", "cortex-a76", "a Raspberry Pi 5", 0xD0B, "r4p1", ARMV8_2, Cache(64, 4), Cache(512, 8)),
        # QEMU has no core of its own with the int8 matrix products. Its "max" with SME computes int8 wrongly, and its
        # vectors are longer than those of any phone.
        Core(
            "i8mm",
            "max,sme=off,sve-max-vq=1",
            "a phone's Cortex-A710",
            0xD47,
            "r2p0",
            ARMV9_0,
            Cache(64, 4),
            Cache(512, 8),
        ),
    )
}


def core_named(name: str | None) -> Core:
    """Return the core of that name, or the usual one.

    Raises:
        UnknownNameError: there is none.
    """
    name = name or DEFAULT_CORE
    if name not in CORES:
        raise UnknownNameError("emulated core", name[:80], CORES)
    return CORES[name]
