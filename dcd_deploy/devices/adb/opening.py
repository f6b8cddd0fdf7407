"""From a phone's serial to the phone, connected, and to the way in which it measures.

--runner PATH …    programs made for phones
else               a Python that the phone's shell finds, or the one that is named
else               none: the phone can be described, and says what it lacks when it is to measure
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.devices.adb.client import SERIAL, Adb, chosen
from dcd_deploy.devices.adb.native import NativePhone
from dcd_deploy.devices.adb.phone import Phone
from dcd_deploy.devices.adb.python import PythonPhone, found_python, python_command
from dcd_deploy.devices.device import Device
from dcd_deploy.errors import DeviceError, MissingDependencyError, OptionError


@dataclass(frozen=True)
class Means:
    """What the user wants to be measured with: programs for the phone, or a Python there."""

    runners: tuple[Path, ...] = ()
    python: str | None = None

    def __post_init__(self) -> None:
        if self.runners and self.python is not None:
            raise OptionError(expected="one way to measure on a phone: `runner` or `python`", found="both")


def open_phone(label: str, serial: str | None, means: Means) -> Device:
    """Connect to the phone of this ``serial``, or to the only one that there is; ``label`` is what results call it.

    Raises:
        MissingDependencyError: there is no adb here.
        DeviceError: there is no such phone, several, or it cannot be used.
    """
    adb = Adb.found()
    phone = Phone(adb, chosen(adb.listed(), serial))
    if means.runners:
        return NativePhone(label, phone, means.runners)
    python = found_python(phone, means.python)
    return NativePhone(label, phone, ()) if python is None else PythonPhone(label, phone, python_command(python))


def found_phones() -> list[str]:
    """Return the serials of the phones that adb sees, also of those that cannot be used; none where there is no adb."""
    try:
        return [phone.serial for phone in Adb.found().listed() if SERIAL.fullmatch(phone.serial)]
    except (MissingDependencyError, DeviceError):
        return []
