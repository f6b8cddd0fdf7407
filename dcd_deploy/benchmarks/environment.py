"""The machine that a measurement was made on, as far as it can be read without tools."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dcd_deploy import __version__
from dcd_deploy.benchmarks.machine import clock_mhz, core_ids, model_name, read_text, temperature_c

PACKAGES = ("onnxruntime", "ai-edge-litert", "tflite-runtime", "executorch", "numpy")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
BOARD = Path("/proc/device-tree/model")
FEATURES = (
    *("avx2", "avx512f", "avx512_vnni", "amx_tile"),
    *("neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)


EMULATED = "run by an emulator: these times say nothing about any device"


@dataclass(frozen=True)
class Environment:
    """Where and when, as the measurement began; None where it cannot be read.

    ``load`` is the one-minute load average, ``governor`` the rule by which Linux sets the clock; ``python`` is None
    where no Python measured. ``notes`` say, each in a line, what the numbers from there are not.
    """

    cpu: str
    features: tuple[str, ...]
    cores: int
    system: str
    python: str | None
    packages: dict[str, str]
    load: float | None
    date: str
    governor: str | None = None
    clock_mhz: float | None = None
    memory_mb: int | None = None
    temperature_c: float | None = None
    notes: tuple[str, ...] = ()


def read_environment() -> Environment:
    """Describe this machine now."""
    info = _cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return Environment(
        cpu=", ".join(filter(None, [read_text(BOARD), model_name(info)])) or platform.processor() or platform.machine(),
        features=tuple(feature for feature in FEATURES if feature in flags),
        cores=core_count(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        packages={"dcd-deploy": __version__} | {name: found for name in PACKAGES if (found := _version(name))},
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        governor=read_text(GOVERNOR) or None,
        clock_mhz=clock_mhz(),
        memory_mb=_memory_mb(),
        temperature_c=temperature_c(),
        notes=(EMULATED,) if _is_emulated() else (),
    )


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


def _is_emulated() -> bool:
    """Whether an emulator of user programs runs this one; it shows itself as this, and its own file to the kernel."""
    with suppress(OSError):
        return Path("/proc/thread-self/exe").readlink().name.startswith("qemu-")
    return False


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
