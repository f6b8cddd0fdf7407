"""The programs of this machine that emulation stands on: QEMU, a compiler, and what makes an aarch64 root.

Nothing is installed unasked: what is missing is an error that names Debian's packages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence

from dcd_deploy.errors import DeviceLackError
from dcd_deploy.progress import Progress

QEMU = "qemu-aarch64"  # the dynamically linked one: the static one takes no plugins
PACKAGES = {
    QEMU: "qemu-user",
    "mmdebstrap": "mmdebstrap",
    "gcc": "gcc libc6-dev",
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
    "apt-get": "apt",
}  # by program
RUNNING, MAKING = (QEMU,), (QEMU, "mmdebstrap", "apt-get", "gcc")
FIRST_REFUSED = 9  # of QEMU's versions: they changed what plugins are built on
FIRST_ACCEPTED = (4, 2)
SETUP = "dcd-deploy setup-emulated"


def check_programs(programs: Sequence[str]) -> None:
    """Raise DeviceLackError unless all are installed; the message has the packages and the command."""
    missing = _missing(programs)
    if missing:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise DeviceLackError(
            f"emulating ARM needs {_listed(missing)}, not found on this machine; on Debian: apt-get install {packages} "
            f"(as root, {SETUP} with `install` does it)"
        )


def install_programs(programs: Sequence[str], progress: Progress) -> None:
    """Install those that are missing, as root on Debian.

    Raises:
        DeviceLackError: this is not Debian or not root, or apt-get fails.
    """
    missing = _missing(programs)
    if not missing:
        return
    if os.geteuid() != 0 or "apt-get" in missing:
        check_programs(programs)
    packages = [package for name in missing for package in PACKAGES[name].split()]
    with progress(f"install {' '.join(packages)}"):
        run_program(["apt-get", "update", "-qq"], "apt-get update")
        run_program(["apt-get", "install", "-y", "-qq", *packages], "apt-get install")


def qemu_version() -> str:
    """Return QEMU's version, such as "7.2.22".

    Raises:
        DeviceLackError: there is no QEMU, or it does not say its version.
    """
    check_programs([QEMU])
    said = subprocess.run([QEMU, "--version"], capture_output=True, encoding="utf-8", errors="replace", check=False)  # noqa: S603
    found = re.search(r"version (\d+\.\d+(?:\.\d+)?)", said.stdout)
    if found is None:
        raise DeviceLackError(expected=f"'{QEMU} --version' to say a version", found=f"'{said.stdout.strip()[:80]}'")
    return found[1]


def check_counts(version: str) -> None:
    """Raise DeviceLackError unless the counting plugin is known to work with this version of QEMU."""
    major, minor = map(int, version.split(".")[:2])
    if (major, minor) < FIRST_ACCEPTED or major >= FIRST_REFUSED:
        lowest = ".".join(map(str, FIRST_ACCEPTED))
        raise DeviceLackError(
            f"counting needs QEMU {lowest} to {FIRST_REFUSED - 1}, found {version}: plugins are built otherwise from "
            f"{FIRST_REFUSED} on, and the counts are not verified there; 'verify' with `device` works with any"
        )


def run_program(command: Sequence[str], title: str, given: str = "") -> str:
    """Run a program and return what it printed.

    Raises:
        DeviceLackError: it fails; the message has its last words.
    """
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(  # noqa: S603 - argument lists of our own
        command, input=given, capture_output=True, encoding="utf-8", errors="replace", env=environment, check=False
    )
    if done.returncode:
        raise DeviceLackError(expected=f"{title} to succeed", but=f"it ended with code {done.returncode}{_words(done)}")
    return done.stdout


def _words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return f": {' / '.join(lines[-3:])[:400]}" if lines else ""


def _missing(programs: Sequence[str]) -> list[str]:
    return [name for name in programs if shutil.which(name) is None]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
