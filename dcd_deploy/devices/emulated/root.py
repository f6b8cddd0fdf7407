"""What aarch64 programs find under emulation: a Debian root with Python, the runtimes' wheels, and a core's cpuinfo.

CACHE/system-KEY/      Debian's own Python and C libraries, extracted, nothing of it ever run here
CACHE/wheels-KEY/      numpy, the runtimes and what they need for aarch64, in the versions that are installed here
CACHE/core-NAME-KEY/   for each core: links to the system, and /proc/cpuinfo and the like as on that core
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dcd_deploy.devices.emulated.cores import Core
from dcd_deploy.devices.emulated.made_once import cache_folder, key_of, made_once
from dcd_deploy.devices.emulated.programs import MAKING, SETUP, check_programs, run_program
from dcd_deploy.devices.emulated.sources import apt_sources, codename
from dcd_deploy.errors import DeviceLackError
from dcd_deploy.progress import Progress

DEBIAN = ("python3-minimal", "python3", "libstdc++6", "libgomp1", "zlib1g", "libatomic1", "libgcc-s1")
WHEELS = ("numpy", "onnxruntime", "ai-edge-litert", "ml_dtypes")  # what of it is installed here
# CompiledModel loads it whoever asks for the CPU alone, and it ends the process on a core without ARMv8.1's atomics.
LEFT_OUT = ("ai_edge_litert/libLiteRtWebGpuAccelerator.so",)
GLIBC = range(17, 37)  # the versions 2.x of the C library that a wheel may have been built for, of Debian 12 the last
SYSTEM_LINKS = ("etc", "lib", "lib64", "usr")


@dataclass(frozen=True)
class Root:
    """The pieces, and what a program under emulation is started with."""

    system: Path
    wheels: Path
    python: str  # such as "3.11"
    versions: dict[str, str]

    @property
    def interpreter(self) -> Path:
        """The root's Python."""
        return self.system / "usr" / "bin" / f"python{self.python}"

    def for_core(self, core: Core) -> Path:
        """Return the root that a program finds on ``core``."""
        folder = cache_folder() / f"core-{core.name}-{key_of(core, self.system)}"
        return made_once(folder, lambda path: _make_core(path, core, self.system))


def installed_root() -> Root:
    """Return the root that was set up for this machine's versions.

    Raises:
        DeviceLackError: there is none.
    """
    system = _system_path()
    if system.exists():
        python = _python_of(system)
        wheels = _wheels_path(python)
        if wheels.exists():
            return Root(system, wheels, python, wheel_versions())
    raise DeviceLackError(
        expected=f"the aarch64 root that emulation runs in, with {_listed(wheel_versions())}",
        found="none",
        advice=f"make it once with: {SETUP}",
    )


def make_root(progress: Progress) -> Root:
    """Make what is not there yet.

    Raises:
        DeviceLackError: a program is missing, or a package cannot be had.
        OutputError: no room.
    """
    check_programs(MAKING)
    system = _system_path()
    with progress("aarch64 Debian with Python, from this machine's package sources"):
        made_once(system, _make_system)
    python = _python_of(system)
    versions = wheel_versions()
    with progress(f"aarch64 {_listed(versions)}"):
        wheels = made_once(_wheels_path(python), _wheel_maker(python, versions))
    return Root(system, wheels, python, versions)


def wheel_versions() -> dict[str, str]:
    """Return the versions, installed here, of the packages that are wanted there."""
    found = {}
    for name in WHEELS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _system_path() -> Path:
    return cache_folder() / f"system-{codename()}-{key_of(DEBIAN)}"


def _wheels_path(python: str) -> Path:
    return cache_folder() / f"wheels-{key_of(python, wheel_versions(), LEFT_OUT)}"


def _python_of(system: Path) -> str:
    """Return the version of a root's Python, such as "3.11"."""
    link = system / "usr" / "bin" / "python3"
    target = link.readlink().name.removeprefix("python") if link.is_symlink() else ""
    if not target.startswith("3."):
        raise DeviceLackError(
            expected=f"Python 3 in the aarch64 root '{system}'", found="none", advice="remove it and set up anew"
        )
    return target


def _make_system(path: Path) -> None:
    """Extract the packages with mmdebstrap; "chrootless" needs no root, and "extract" runs nothing of them."""
    name = codename()
    command = ["mmdebstrap", "--mode=chrootless", "--architectures=arm64", "--variant=extract", "--quiet"]
    sources = "\n".join(apt_sources(name)) + "\n"
    run_program([*command, f"--include={','.join(DEBIAN)}", name, str(path), "-"], "mmdebstrap", sources)


def _wheel_maker(python: str, versions: dict[str, str]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        downloads = path.with_name("downloads")
        platforms = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in GLIBC)]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--no-deps"]
        command += ["--python-version", python, *(f"--platform={name}" for name in platforms)]
        wanted = [f"{name}=={found}" for name, found in versions.items()]
        run_program([*command, f"--dest={downloads}", *wanted], "pip download")
        for wheel in sorted(downloads.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(path, [name for name in archive.namelist() if name not in LEFT_OUT])

    return make


def _make_core(path: Path, core: Core, system: Path) -> None:
    path.mkdir()
    for name in SYSTEM_LINKS:
        if (system / name).exists():
            (path / name).symlink_to(system / name)
    texts = {"proc/cpuinfo": core.cpuinfo()}
    texts |= {f"sys/devices/system/cpu/{name}": "0\n" for name in ("possible", "present", "online")}
    for name, text in texts.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text, encoding="ascii")


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {found}" for name, found in versions.items()) or "no runtime"
