"""The machine that a measurement was made on, as far as it can be read without tools."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dcd_deploy.benchmarks.machine import clock_mhz, read_text

PACKAGES = ("dcd-deploy", "onnxruntime", "ai-edge-litert", "tflite-runtime", "numpy")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
ZONES = Path("/sys/class/thermal")
FEATURES = ("avx2", "avx512f", "avx512_vnni", "amx_tile", "asimd", "asimddp", "i8mm", "sve")


@dataclass(frozen=True)
class Environment:
    """Where and when, as the measurement began; None where it cannot be read.

    ``load`` is the one-minute load average, ``governor`` the rule by which Linux sets the clock.
    """

    cpu: str
    features: tuple[str, ...]
    cores: int
    system: str
    python: str
    packages: dict[str, str]
    load: float | None
    date: str
    governor: str | None = None
    clock_mhz: float | None = None
    memory_mb: int | None = None
    temperature_c: float | None = None


def read_environment() -> Environment:
    """Describe this machine now."""
    info = _cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return Environment(
        cpu=info.get("model name") or platform.processor() or platform.machine(),
        features=tuple(feature for feature in FEATURES if feature in flags),
        cores=core_count(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        packages={name: found for name in PACKAGES if (found := _version(name))},
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        governor=read_text(GOVERNOR) or None,
        clock_mhz=clock_mhz(),
        memory_mb=_memory_mb(),
        temperature_c=_temperature_c(),
    )


def core_ids() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def core_count() -> int:
    """Return the number of cores that this process may use."""
    return len(core_ids())


def _cpuinfo() -> dict[str, str]:
    """Return the first processor's entries of /proc/cpuinfo, or nothing elsewhere than on Linux."""
    text = read_text(Path("/proc/cpuinfo"))
    lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def _memory_mb() -> int | None:
    line = read_text(Path("/proc/meminfo")).partition("\n")[0].split()
    return int(line[1]) // 1024 if len(line) == 3 and line[0] == "MemTotal:" else None


def _temperature_c() -> float | None:
    """Return the temperature of the hottest zone."""
    texts = [read_text(zone) for zone in ZONES.glob("thermal_zone*/temp")]
    return max((int(text) / 1000 for text in texts if text.isdigit()), default=None)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
