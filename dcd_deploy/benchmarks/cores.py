"""The cores of this machine by kind, the fast ones first, as far as Linux tells: big.LITTLE is not one processor.

It needs nothing but the standard library of Python 3.9, so that it runs on every device that measures.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.benchmarks.reading import read_text

CPUS = Path("/sys/devices/system/cpu")
CPUINFO = Path("/proc/cpuinfo")
# What Linux names by number alone: (implementer, part), as the architecture's manuals assign them.
PARTS = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd04"): "Cortex-A35",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd0d"): "Cortex-A77",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd44"): "Cortex-X1",
    ("0x41", "0xd46"): "Cortex-A510",
    ("0x41", "0xd47"): "Cortex-A710",
    ("0x41", "0xd48"): "Cortex-X2",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4d"): "Cortex-A715",
    ("0x41", "0xd4e"): "Cortex-X3",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd80"): "Cortex-A520",
    ("0x41", "0xd81"): "Cortex-A720",
    ("0x41", "0xd82"): "Cortex-X4",
}


@dataclass(frozen=True)
class CoreKind:
    """Cores that are alike: their numbers, what they are, their fastest clock, and their capacity (1024: the fastest).

    None where it cannot be read.
    """

    cpus: tuple[int, ...]
    model: str
    max_mhz: float | None
    capacity: int | None


def core_ids() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def core_kinds() -> tuple[CoreKind, ...]:
    """Return the cores that this process may use, by kind, the fastest kind first."""
    models = _models()
    only = next(iter(models.values())) if len(set(models.values())) == 1 else ""  # of those that Linux does not list
    kinds: dict[tuple[str, float | None, int | None], list[int]] = {}
    for cpu in core_ids():
        kinds.setdefault((models.get(cpu, only), _max_mhz(cpu), _capacity(cpu)), []).append(cpu)
    found = [CoreKind(tuple(cpus), *kind) for kind, cpus in kinds.items()]
    return tuple(sorted(found, key=lambda kind: (-(kind.capacity or 0), -(kind.max_mhz or 0.0), kind.cpus)))


def big_cores(kinds: Iterable[CoreKind]) -> tuple[int, ...] | None:
    """Return the cores of the fastest kind, or None where all cores are alike or nothing tells them apart.

    Cores whose clocks differ by less than a tenth are alike: makers bin the cores of one kind.
    """
    ranked = list(kinds)
    if len(ranked) < 2:
        return None
    fastest = ranked[0]
    big = [kind for kind in ranked if _alike(kind, fastest)]
    return None if len(big) == len(ranked) else tuple(sorted(cpu for kind in big for cpu in kind.cpus))


def _alike(kind: CoreKind, fastest: CoreKind) -> bool:
    if kind.capacity is not None and fastest.capacity is not None:
        return kind.capacity >= 0.9 * fastest.capacity
    if kind.max_mhz is not None and fastest.max_mhz is not None:
        return kind.max_mhz >= 0.9 * fastest.max_mhz
    return True


def _models() -> dict[int, str]:
    """Return what each core calls itself, by number."""
    found = {}
    for block in read_text(CPUINFO).split("\n\n"):
        lines = (line.partition(":") for line in block.splitlines())
        entries = {key.strip(): value.strip() for key, _, value in lines}
        number = entries.get("processor", "")
        if number.isdigit():
            found[int(number)] = model_name(entries)
    return found


def model_name(entries: dict[str, str]) -> str:
    """Return what a processor is called, from its entries in /proc/cpuinfo: a name, or ARM's numbers put into one."""
    if name := entries.get("model name"):
        return name
    maker, part = entries.get("CPU implementer", ""), entries.get("CPU part", "")
    return PARTS.get((maker, part)) or (f"ARM {maker}/{part}" if part else "")


def _max_mhz(cpu: int) -> float | None:
    text = read_text(CPUS / f"cpu{cpu}" / "cpufreq" / "cpuinfo_max_freq")
    return int(text) / 1000 if text.isdigit() else None


def _capacity(cpu: int) -> int | None:
    text = read_text(CPUS / f"cpu{cpu}" / "cpu_capacity")
    return int(text) if text.isdigit() else None
