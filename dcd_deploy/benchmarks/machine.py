"""What Linux tells of this machine: its cores by kind, the fast ones first, and what it does while we measure.

big.LITTLE is not one processor. Others use its cores, its clock moves, and it may slow itself down to stay cool. Of
that there are three signs, of which a machine has one or none: a counter of throttlings (x86), the state of the cooling
devices that lower the processor's clock (most boards), and the firmware's own word (Raspberry Pi).

It needs nothing but the standard library of Python 3.9, so that it runs on every device that measures.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


def read_text(path: str | Path) -> str:
    """Return what one of the kernel's files says, or nothing where there is no such file."""
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0 \t\r\n")
    return ""


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


THERMAL = Path("/sys/class/thermal")
FIRMWARE = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
SLOWING = ("thermal-cpufreq", "cpufreq", "Processor")  # cooling devices that cool by lowering the clock
NOW, SINCE_START = 0b1110, 0b1110 << 16  # the firmware's bits: clock capped, throttled, soft limit of temperature


@dataclass(frozen=True)
class Throttling:
    """The three signs at one moment; None where there is no such sign."""

    count: int | None
    cooling: int | None
    firmware: int | None

    @classmethod
    def now(cls) -> Throttling:
        """Read the signs."""
        counts = _numbers(CPUS.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))
        devices = (place for place in THERMAL.glob("cooling_device*") if read_text(place / "type").startswith(SLOWING))
        states = _numbers(place / "cur_state" for place in devices)
        return cls(sum(counts) if counts else None, max(states, default=None), _firmware())

    def until(self, later: Throttling) -> bool | None:
        """Return whether the machine was slowed down between this moment and ``later``, or None where nothing tells."""
        signs = []
        if self.count is not None and later.count is not None:
            signs.append(later.count > self.count)
        if self.cooling is not None and later.cooling is not None:
            signs.append(max(self.cooling, later.cooling) > 0)
        if self.firmware is not None and later.firmware is not None:
            newly = later.firmware & ~self.firmware & SINCE_START
            signs.append(bool(newly or (self.firmware | later.firmware) & NOW))
        return any(signs) if signs else None


def temperature_c() -> float | None:
    """Return the temperature of the hottest zone, in °C."""
    return max((value / 1000 for value in _numbers(THERMAL.glob("thermal_zone*/temp"))), default=None)


def _firmware() -> int | None:
    try:
        return int(read_text(FIRMWARE), 16)
    except ValueError:
        return None


def _numbers(places: Iterable[Path]) -> list[int]:
    texts = map(read_text, places)
    return [int(text) for text in texts if text.isdigit()]


BUSY = (0, 1, 2, 5, 6)  # user, nice, system, irq, softirq; the columns of /proc/stat
STOLEN = 7


@dataclass(frozen=True)
class Machine:
    """During a trial: cores kept busy by other processes, cores the host took away, clock and temperature around it.

    ``throttled`` says whether it slowed itself down to stay cool. None where it cannot be read.
    """

    others_busy_cores: float | None = None
    stolen_cores: float | None = None
    clock_mhz_before: float | None = None
    clock_mhz_after: float | None = None
    temperature_c_before: float | None = None
    temperature_c_after: float | None = None
    throttled: bool | None = None


@contextmanager
def watched() -> Iterator[list[Machine]]:
    """Watch the machine during a block; the list holds one ``Machine`` after it."""
    found: list[Machine] = []
    clock, warm, throttling, before = clock_mhz(), temperature_c(), Throttling.now(), _Reading.now()
    yield found
    after, later = _Reading.now(), clock_mhz()
    throttled = throttling.until(Throttling.now())
    found.append(Machine(*before.until(after), clock, later, warm, temperature_c(), throttled))


def clock_mhz() -> float | None:
    """Return the clock of the fastest core at this moment."""
    clocks = [
        float(line.partition(":")[2])
        for line in read_text("/proc/cpuinfo").splitlines()
        if line.startswith("cpu MHz") and line.partition(":")[2].strip()
    ]
    if not clocks:
        texts = map(read_text, Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
        clocks = [float(text) / 1000 for text in texts if text.strip().isdigit()]
    return max(clocks, default=None)


@dataclass(frozen=True)
class _Reading:
    """Seconds of processor time since the machine started: all processes', this one's, and what the host took."""

    at: float
    busy: float | None
    stolen: float | None
    own: float

    @classmethod
    def now(cls) -> _Reading:
        columns = [int(part) for part in read_text("/proc/stat").partition("\n")[0].split()[1:] if part.isdigit()]
        tick = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
        busy = sum(columns[i] for i in BUSY) / tick if len(columns) > STOLEN else None
        stolen = columns[STOLEN] / tick if len(columns) > STOLEN else None
        return cls(time.monotonic(), busy, stolen, time.process_time())

    def until(self, later: _Reading) -> tuple[float | None, float | None]:
        """Return how many cores others used, and the host took, from this reading to ``later``."""
        seconds = later.at - self.at
        if None in (self.busy, later.busy, self.stolen, later.stolen) or seconds <= 0:
            return None, None
        assert self.busy is not None
        assert later.busy is not None
        assert self.stolen is not None
        assert later.stolen is not None
        others = (later.busy - self.busy) - (later.own - self.own)
        return max(0.0, others / seconds), max(0.0, (later.stolen - self.stolen) / seconds)
