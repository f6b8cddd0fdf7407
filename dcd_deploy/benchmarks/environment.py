"""The machine that a measurement was made on, as far as it can be read without tools."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("dcd-deploy", "onnxruntime", "ai-edge-litert", "tflite-runtime", "numpy")
FEATURES = ("avx2", "avx512f", "avx512_vnni", "amx_tile", "asimd", "asimddp", "i8mm", "sve")


@dataclass(frozen=True)
class Environment:
    """Where and when; ``load`` is the one-minute load average when the measurement began."""

    cpu: str
    features: tuple[str, ...]
    cores: int
    system: str
    python: str
    packages: dict[str, str]
    load: float | None
    date: str
    governor: str | None
    clock_mhz: float | None
    memory_mb: int | None
    temperature_c: float | None


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
        governor=None,
        clock_mhz=None,
        memory_mb=None,
        temperature_c=None,
    )


def core_count() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpuinfo() -> dict[str, str]:
    """Return the first processor's entries of /proc/cpuinfo, or nothing elsewhere than on Linux."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
