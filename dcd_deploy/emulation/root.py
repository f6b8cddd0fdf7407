"""What aarch64 programs find under emulation: a Debian root with Python, the runtimes' wheels, and a core's cpuinfo.

    CACHE/system-KEY/      Debian's own Python and C libraries, extracted, nothing of it ever run here
    CACHE/wheels-KEY/      numpy, the runtimes and what they need for aarch64, in the versions that are installed here
    CACHE/core-NAME-KEY/   for each core: links to the system, and /proc/cpuinfo and the like as on that core

Debian's packages come from where this machine gets its own.
"""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dcd_deploy.emulation.cores import Core
from dcd_deploy.emulation.programs import MAKING, SETUP, check_programs, run_program
from dcd_deploy.errors import DeviceLackError
from dcd_deploy.made_once import cache_folder, key_of, made_once
from dcd_deploy.progress import Progress

APT = Path("/etc/apt")
RELEASE = Path("/etc/os-release")
WANTED = ("main", "universe")  # the components that Python lies in, on Debian and on Ubuntu
ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)")


def codename(release: Path = RELEASE) -> str:
    """Return the name of this machine's Debian or Ubuntu, such as "bookworm".

    Raises:
        DeviceLackError: it has none.
    """
    text = release.read_text(encoding="utf-8", errors="replace") if release.is_file() else ""
    found = re.search(r"^VERSION_CODENAME=\"?([a-z]+)\"?$", text, re.MULTILINE)
    if found is None:
        raise DeviceLackError("making an aarch64 root needs a Debian or Ubuntu with its package sources, found neither")
    return found[1]


def apt_sources(name: str, folder: Path = APT) -> list[str]:
    """Return the sources in ``folder`` that serve the release ``name`` and its updates, in the one-line form.

    Others (of a vendor, say) are left out: the root needs nothing from them.

    Raises:
        DeviceLackError: there are none.
    """
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    found = [line for file in files if file.is_file() for line in _lines(file, name)]
    if not found:
        raise DeviceLackError(
            expected=f"package sources of '{name}' in {folder}", found="none", advice="apt-get needs them too"
        )
    return found


def _lines(file: Path, name: str) -> Iterator[str]:
    text = file.read_text(encoding="utf-8", errors="replace")
    if file.suffix == ".list":
        entries = [_one_line(line) for line in text.splitlines()]
    elif file.suffix == ".sources":
        entries = [entry for stanza in re.split(r"\n\s*\n", text) for entry in _stanza(stanza)]
    else:
        entries = []
    for options, uri, suite, components in filter(None, entries):
        wanted = [component for component in components.split() if component in WANTED]
        if wanted and re.fullmatch(rf"{name}(-[a-z-]+)?/?(updates)?", suite) and "arch=amd64" not in options:
            yield f"deb {options}{uri} {suite} {' '.join(wanted)}"


Entry = tuple[str, str, str, str]  # options, address, suite, components


def _one_line(line: str) -> Entry | None:
    match = ONE_LINE.fullmatch(line.partition("#")[0].strip())
    if match is None:
        return None
    options = " ".join(part for part in (match["options"] or "").split())
    return f"[{options}] " if options else "", match["uri"], match["suite"], match["components"]


def _stanza(stanza: str) -> Iterator[Entry]:
    """Yield the entries of one stanza of the newer form, "Field: values"."""
    fields: dict[str, str] = {}
    for line in stanza.splitlines():
        key, colon, value = line.partition(":")
        if colon and not line.startswith(("#", " ", "\t")):
            fields[key.strip().lower()] = value.strip()
    amd64_only = fields.get("architectures", "arm64").split() == ["amd64"]
    if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no" or amd64_only:
        return
    signed = fields.get("signed-by", "")
    options = f"[signed-by={signed}] " if signed.startswith("/") else ""
    for uri in fields.get("uris", "").split():
        for suite in fields.get("suites", "").split():
            yield options, uri, suite, fields.get("components", "")


DEBIAN = ("python3-minimal", "python3", "libstdc++6", "libgomp1", "zlib1g", "libatomic1", "libgcc-s1")
WHEELS = ("numpy", "onnxruntime", "ai-edge-litert", "ml_dtypes", "executorch")  # what of it is installed here
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
