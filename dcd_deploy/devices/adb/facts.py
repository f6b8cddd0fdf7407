"""What a phone says of itself, read in one command: properties, and the kernel's files that its shell may read.

    == prop:ro.product.model
    Pixel 7
    == /proc/loadavg
    5.10 4.87 4.92 2/4711 12345

Which files there are differs from maker to maker; what cannot be read is simply not there. The texts are the phone's:
they are bounded, and cleaned where they are used. From them comes what a result says of the phone: its environment, its
cores by kind, its heat.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from dcd_deploy.benchmarks.environment import FEATURES, Environment
from dcd_deploy.benchmarks.machine import SLOWING, CoreKind, Machine, Throttling, model_name
from dcd_deploy.devices.adb.client import cleaned
from dcd_deploy.devices.adb.phone import Phone

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


COLDEST, HOTTEST = 1.0, 150.0  # °C: zones that are switched off say 0, or something absurd
PROCESSOR_ZONES = re.compile(r"(cpu|soc|big|mid|little|tsens|cluster|ap_|mtktscpu)", re.IGNORECASE)
MOST_CORES = 256
HEAT_OF_CPU = "0"  # Android's number for the processor among the kinds of temperatures
LIGHT = 1  # Android's first step of throttling


def environment(found: Snapshot, packages: dict[str, str], notes: tuple[str, ...]) -> Environment:
    """Return the environment; ``packages`` are what measures there, with what tells their versions apart."""
    blocks = list(_cpuinfo(found))
    flags = {flag for block in blocks for flag in (block.get("Features") or block.get("flags") or "").split()}
    kinds = core_kinds(found)
    memory = re.match(r"MemTotal:\s+(\d{1,12}) kB", found.texts.get("/proc/meminfo", ""))
    load = re.match(r"\d{1,6}\.\d+", found.one("/proc/loadavg"))
    governors = {found.one(name) for _, name in found.matching(rf"{CPUS}/cpu\d+/cpufreq/scaling_governor")} - {""}
    return Environment(
        cpu=phone_name(found),
        features=tuple(feature for feature in FEATURES if feature in flags),
        cores=sum(len(kind.cpus) for kind in kinds) or 1,
        system=phone_system(found),
        python=None,
        packages=packages,
        load=float(load[0]) if load else None,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        governor=", ".join(sorted(governors)) or None,
        clock_mhz=clock_mhz(found),
        memory_mb=int(memory[1]) // 1024 if memory else None,
        temperature_c=temperature_c(found),
        notes=notes,
    )


def core_kinds(found: Snapshot) -> tuple[CoreKind, ...]:
    """Return the phone's cores by kind, the fastest kind first."""
    models = {int(block["processor"]): cleaned(model_name(block), 60) for block in _cpuinfo(found)}
    kinds: dict[tuple[str, float | None, int | None], list[int]] = {}
    for cpu in _cpu_numbers(found, models):
        khz = found.number(f"{CPUS}/cpu{cpu}/cpufreq/cpuinfo_max_freq")
        kind = (models.get(cpu, ""), khz / 1000 if khz else None, found.number(f"{CPUS}/cpu{cpu}/cpu_capacity"))
        kinds.setdefault(kind, []).append(cpu)
    all_kinds = [CoreKind(tuple(cpus), *kind) for kind, cpus in kinds.items()]
    return tuple(sorted(all_kinds, key=lambda kind: (-(kind.capacity or 0), -(kind.max_mhz or 0.0), kind.cpus)))


def clock_mhz(found: Snapshot) -> float | None:
    """Return the clock of the fastest core at that moment."""
    clocks = (found.number(name) for _, name in found.matching(rf"{CPUS}/cpu\d+/cpufreq/scaling_cur_freq"))
    return max((khz / 1000 for khz in clocks if khz is not None and khz > 0), default=None)


def temperature_c(found: Snapshot) -> float | None:
    """Return the temperature of the processor's hottest zone, else of the hottest of all, in °C."""
    zones = [
        (bool(PROCESSOR_ZONES.match(found.one(f"{THERMAL}/{match[1]}/type"))), value / 1000)
        for match, name in found.matching(rf"{THERMAL}/(thermal_zone\d+)/temp")
        if (value := found.number(name)) is not None
    ]
    zones += [
        (match[2] == HEAT_OF_CPU, float(match[1]))
        for match in re.finditer(
            r"Temperature\{mValue=(\d{1,3}(?:\.\d{1,9})?), mType=(-?\d+)", found.texts.get(SERVICE, "")
        )
    ]
    sane = [zone for zone in zones if COLDEST <= zone[1] <= HOTTEST]
    return max((heat for of_processor, heat in sane if of_processor == any(zone[0] for zone in sane)), default=None)


def during(before: Snapshot, after: Snapshot) -> Machine:
    """Return what the phone did between two moments; how busy others kept it cannot be told from outside."""
    throttled = [
        sign for sign in (_cooling(before).until(_cooling(after)), _thermal_status(before, after)) if sign is not None
    ]
    return Machine(
        clock_mhz_before=clock_mhz(before),
        clock_mhz_after=clock_mhz(after),
        temperature_c_before=temperature_c(before),
        temperature_c_after=temperature_c(after),
        throttled=any(throttled) if throttled else None,
    )


def _cooling(found: Snapshot) -> Throttling:
    states = [
        state
        for match, name in found.matching(rf"{THERMAL}/(cooling_device\d+)/cur_state")
        if found.one(f"{THERMAL}/{match[1]}/type").startswith(SLOWING) and (state := found.number(name)) is not None
    ]
    return Throttling(None, max(states, default=None), None)


def _thermal_status(*moments: Snapshot) -> bool | None:
    """Return whether Android itself said at one of the moments that it was throttling."""
    texts = [re.search(r"Thermal Status: (\d)", found.texts.get(SERVICE, "")) for found in moments]
    return any(int(match[1]) >= LIGHT for match in texts if match) if any(texts) else None


def _cpuinfo(found: Snapshot) -> Iterator[dict[str, str]]:
    """Yield the entries of each processor that /proc/cpuinfo numbers."""
    for text in re.split(r"\n\s*\n", found.texts.get("/proc/cpuinfo", "")):
        lines = (line.partition(":") for line in text.splitlines())
        entries = {key.strip(): value.strip() for key, _, value in lines}
        if re.fullmatch(r"\d{1,3}", entries.get("processor", "")):
            yield entries


def _cpu_numbers(found: Snapshot, models: dict[int, str]) -> list[int]:
    """Return the numbers of the cores: of those that are there now, else of all that there may be."""
    numbers = set(models) | {int(match[1]) for match, _ in found.matching(rf"{CPUS}/cpu(\d{{1,3}})/.*")}
    if not numbers and (match := re.fullmatch(r"0-(\d{1,3})", found.one(f"{CPUS}/possible"))):
        numbers = set(range(int(match[1]) + 1))
    return sorted(numbers)[:MOST_CORES]


def phone_system(found: Snapshot) -> str:
    """Return Android's version and its kernel's."""
    release = found.prop("ro.build.version.release")
    return ", ".join(filter(None, [f"Android {release}" if release else "", found.one("uname")]))


def phone_name(found: Snapshot) -> str:
    """Return what the phone is called, what its chip is, and its cores, as far as it says so."""
    maker, model = found.prop("ro.product.manufacturer"), found.prop("ro.product.model")
    cores = " + ".join(f"{len(kind.cpus)}×{kind.model}" for kind in core_kinds(found) if kind.model)
    product = model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip()
    return ", ".join(filter(None, [product, found.prop("ro.soc.model"), cores])) or "an unknown phone"
