"""Phones for the tests: folders that stand for them, and an adb server of the tests' own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from adb_phone import TOOLS, PhoneSide

STAND_INS = Path(__file__).parent / "stand_ins"
BENCHMARK_MODEL = STAND_INS / "benchmark_model.sh"
RUNNER = "# Inference timings in us\n"
QUICK = ("--min-runs", 8, "--min-seconds", 0, "--rounds", 1)
PROPERTIES = {
    "ro.product.manufacturer": "Example",
    "ro.product.model": "Test Phone",
    "ro.soc.model": "EX1000",
    "ro.build.version.release": "14",
    "ro.product.cpu.abi": "x86_64",
}
BIG, LITTLE = "0xd44", "0xd05"
CORE = """processor\t: {cpu}
BogoMIPS\t: 49.15
Features\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp asimddp
CPU implementer\t: 0x41
CPU part\t: {part}
"""
THERMAL_SERVICE = """IsStatusOverride: false
Thermal Status: 0
Current temperatures from HAL:
\tTemperature{mValue=38.5, mType=0, mName=BIG, mStatus=0}
\tTemperature{mValue=31.0, mType=2, mName=battery, mStatus=0}
"""


def make_root(root: Path, **properties: str) -> Path:
    """Make the folder that stands for a phone: its tools, its properties, and what its kernel says."""
    tools = root / "bin"
    tools.mkdir(parents=True)
    for name in TOOLS.split():
        (tools / name).symlink_to(shutil.which("toybox"))
    (tools / "sh").symlink_to(shutil.which("mksh"))
    values = PROPERTIES | {name.replace("__", "."): value for name, value in properties.items()}
    cases = "\n".join(f"{name}) echo '{value}';;" for name, value in values.items())
    script(tools / "getprop", f'case "$1" in\n{cases}\nesac')
    script(tools / "dumpsys", f'[ "$1" = thermalservice ] && echo "{THERMAL_SERVICE}"')
    (tools / "taskset").unlink()  # this machine may have fewer cores than the phone
    script(tools / "taskset", 'shift; exec "$@"')
    (root / "data" / "local" / "tmp").mkdir(parents=True)
    cores = [CORE.format(cpu=cpu, part=BIG if cpu > 1 else LITTLE) for cpu in range(4)]
    write(root / "proc" / "cpuinfo", "\n".join(cores))
    write(root / "proc" / "meminfo", "MemTotal:        7654321 kB\nMemFree:          123456 kB\n")
    write(root / "proc" / "loadavg", "0.42 0.50 0.61 1/900 12345\n")
    for cpu in range(4):
        place = root / "sys" / "devices" / "system" / "cpu" / f"cpu{cpu}"
        write(place / "cpu_capacity", "1024" if cpu > 1 else "250")
        write(place / "cpufreq" / "cpuinfo_max_freq", "2850000" if cpu > 1 else "1800000")
        write(place / "cpufreq" / "scaling_cur_freq", "1200000" if cpu > 1 else "900000")
        write(place / "cpufreq" / "scaling_governor", "sched_pixel")
    return root


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def left_on(phone: PhoneSide) -> list[str]:
    """Return what lies on the phone."""
    storage = phone.root / "data" / "local" / "tmp"
    return sorted(str(path.relative_to(storage)) for path in storage.rglob("*"))


class Server:
    """An adb server with a port and a home of its own, in the environment of this process."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        patch.setenv("ADB_LOCAL_TRANSPORT_MAX_PORT", "5553")  # looks for no emulators
        patch.setenv("HOME", str(home))
        patch.delenv("ANDROID_SERIAL", raising=False)
        self.phones: list[PhoneSide] = []
        adb("start-server")

    def plug_in(self, phone: PhoneSide) -> PhoneSide:
        """Connect a phone; adb waits long for one that does not answer, so it is asked only until that is listed."""
        self.phones.append(phone)
        connecting = subprocess.Popen(["adb", "connect", phone.serial], stdout=subprocess.DEVNULL)
        try:
            until(lambda: f"{phone.serial}\t{phone.state}" in adb("devices"))
        finally:
            connecting.kill()
            connecting.wait()
        return phone

    def unplug_all(self) -> None:
        for phone in self.phones:
            adb("disconnect", phone.serial)
            phone.stop()
        self.phones.clear()

    def stop(self) -> None:
        self.unplug_all()
        adb("kill-server")


def adb(*arguments: str) -> str:
    return subprocess.run(["adb", *arguments], capture_output=True, text=True, timeout=60, check=False).stdout


def until(true, seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.02)
