"""What a phone says of itself, read in one command: properties, and the kernel's files that its shell may read.

    == prop:ro.product.model
    Pixel 7
    == /proc/loadavg
    5.10 4.87 4.92 2/4711 12345

Which files there are differs from maker to maker; what cannot be read is simply not there. The texts are the phone's:
they are bounded, and cleaned where they are used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dcd_deploy.devices.adb.phone import Phone
from dcd_deploy.devices.adb.texts import cleaned

PROPERTIES = (
    "ro.product.manufacturer",
    "ro.product.model",
    "ro.soc.model",
    "ro.build.version.release",
    "ro.product.cpu.abi",
)
CPUS, THERMAL = "/sys/devices/system/cpu", "/sys/class/thermal"
FILES = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/loadavg",
    f"{CPUS}/possible",
    f"{CPUS}/cpu[0-9]*/cpu_capacity",
    f"{CPUS}/cpu[0-9]*/cpufreq/cpuinfo_max_freq",
    f"{CPUS}/cpu[0-9]*/cpufreq/scaling_cur_freq",
    f"{CPUS}/cpu[0-9]*/cpufreq/scaling_governor",
    f"{THERMAL}/thermal_zone*/type",
    f"{THERMAL}/thermal_zone*/temp",
    f"{THERMAL}/cooling_device*/type",
    f"{THERMAL}/cooling_device*/cur_state",
)
MOST_OF_A_FILE, MOST_FILES = 65536, 4000
KERNEL, SERVICE = "uname", "thermalservice"
SCRIPT = "\n".join(
    [
        *(f"echo '== prop:{name}'; getprop {name}" for name in PROPERTIES),
        f"for file in {' '.join(FILES)}; do",
        f'  if [ -r "$file" ]; then echo "== $file"; head -c {MOST_OF_A_FILE} "$file"; echo; fi',
        "done 2>/dev/null",
        f"echo '== {KERNEL}'; uname -srm",
        f"echo '== {SERVICE}'; dumpsys thermalservice 2>/dev/null | head -n 200",
        "true",
    ]
)
LINE = re.compile(r"== ([A-Za-z0-9_:./-]{1,120})")


@dataclass(frozen=True)
class Snapshot:
    """The texts of one moment, by property ("prop:ro.product.model"), file, or program."""

    texts: Mapping[str, str]

    def one(self, name: str) -> str:
        """Return a text as one clean line, empty where there is none."""
        return cleaned(self.texts.get(name, ""), 80)

    def prop(self, name: str) -> str:
        """Return a property."""
        return self.one(f"prop:{name}")

    def number(self, name: str) -> int | None:
        """Return a file's whole number."""
        text = self.one(name)
        return int(text) if re.fullmatch(r"-?\d{1,12}", text) else None

    def matching(self, pattern: str) -> Iterator[tuple[re.Match[str], str]]:
        """Yield the match of each name that ``pattern`` matches whole, and the name."""
        for name in self.texts:
            if match := re.fullmatch(pattern, name):
                yield match, name


def snapshot(phone: Phone) -> Snapshot:
    """Ask a phone for all of it."""
    return parse(phone.script(SCRIPT).out)


def parse(text: str) -> Snapshot:
    """Return the texts of what SCRIPT printed."""
    texts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if (match := LINE.fullmatch(line)) and len(texts) < MOST_FILES:
            lines = texts.setdefault(match[1], [])
        else:
            lines.append(line)
    return Snapshot({name: "\n".join(found) for name, found in texts.items()})
