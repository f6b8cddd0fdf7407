"""Whether a machine slowed itself down to stay cool, as far as Linux tells.

Three signs, of which a machine has one or none: a counter of throttlings (x86), the state of the cooling devices that
lower the processor's clock (most boards), and the firmware's own word (Raspberry Pi).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.benchmarks.reading import read_text

CPUS = Path("/sys/devices/system/cpu")
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
