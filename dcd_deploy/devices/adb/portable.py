"""Experimental: a phone to which Python, numpy and the runtimes are taken along, started by a loader of their own.

The archive is bit by bit what runs under emulation, where its outputs are those of x86; no phone has confirmed it.
Whatever is measured by it says so.
"""

from __future__ import annotations

import shlex
from pathlib import Path, PurePosixPath

from dcd_deploy.devices.adb.client import last_lines
from dcd_deploy.devices.adb.phone import EXPERIMENTAL, FILES, FOLDER, NO_SPACE, Phone
from dcd_deploy.devices.adb.portable_bundle import LOADER, portable_archive, python_place
from dcd_deploy.devices.adb.python import PythonPhone
from dcd_deploy.devices.bundle import START
from dcd_deploy.devices.device import Device
from dcd_deploy.errors import DeviceLackError
from dcd_deploy.files import sha256

ABI = "arm64-v8a"
UNPACKING = 300.0  # seconds


def portable_phone(label: str, phone: Phone) -> Device:
    """Take the bundle to a phone, unless it is there, and return the phone with our runner started by it.

    Raises:
        DeviceLackError: another processor, no room, or there is no bundle to be taken.
    """
    abi = phone.done("getprop", "ro.product.cpu.abi").strip()
    if abi != ABI:
        raise DeviceLackError(
            expected=f"a phone of {ABI} for the portable bundle", found=f"'{abi[:40]}'", advice="give a `runner`"
        )
    archive = portable_archive()
    phone.hold.take()
    try:
        place = unpacked(phone, archive)
        return PythonPhone(label, phone, _command(place, python_place(archive)), (EXPERIMENTAL,))
    except BaseException:
        phone.remove(FOLDER)
        phone.hold.release()
        raise


def unpacked(phone: Phone, archive: Path) -> PurePosixPath:
    """Return the folder on the phone that holds what is in the archive."""
    place = FILES / f"portable-{sha256(archive)[:16]}"
    if phone.shell("test", "-d", str(place)).code == 0:
        return place
    part = place.with_name(f"{place.name}.part")
    there = phone.send(archive)
    said = phone.script(
        f"rm -rf {part}; mkdir {part} && gunzip -c {there} | tar -x -C {part} && test -f {part}/{LOADER} && "
        f"rm {there} && mv {part} {place}",
        seconds=UNPACKING,
    )
    if said.code:
        what = "there is no space left" if NO_SPACE in said.err else last_lines(said.err or said.out)
        raise DeviceLackError(f"expected to unpack the portable bundle on the phone '{phone.serial}', but: {what}")
    return place


def _command(place: PurePosixPath, python: PurePosixPath) -> str:
    """Return what the phone's shell is told: the loader loads Python, with the libraries that came along."""
    settings = {
        "HOME": FOLDER,
        "TMPDIR": FOLDER,
        "LC_ALL": "C.UTF-8",
        "PYTHONHOME": place / "usr",
        "PYTHONPATH": place / "wheels",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    exports = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in settings.items())
    words = shlex.join([str(place / LOADER), "--library-path", str(place / "lib"), str(place / python), "-c", START])
    return f'export {exports}; cd "$HOME" && exec {words}'
