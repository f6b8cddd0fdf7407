"""From a device's name to the device, connected; and what devices there are to be found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.benchmarks.process import LOCAL
from dcd_deploy.devices.adb.client import SERIAL, Adb, chosen
from dcd_deploy.devices.adb.native import NativePhone
from dcd_deploy.devices.adb.phone import Phone
from dcd_deploy.devices.adb.python import PythonPhone, found_python, python_command
from dcd_deploy.devices.device import Device, LocalDevice
from dcd_deploy.devices.names import ADB, SSH, DeviceName, parse_device
from dcd_deploy.devices.ssh import SshDevice
from dcd_deploy.emulation.cores import EMULATED
from dcd_deploy.errors import DeviceError, MissingDependencyError, OptionError, UnknownNameError
from dcd_deploy.progress import Progress, silent


@dataclass(frozen=True)
class DeviceOptions:
    """How to open a device: its ``label`` in results, in place of its name; the Python to use; whether to set it up.

    For phones: ``runners`` are programs made for them, that measure there in place of Python.
    """

    label: str | None = None
    python: str | None = None
    setup: bool = False
    runners: tuple[Path, ...] = ()


def open_phone(label: str, serial: str | None, options: DeviceOptions) -> Device:
    """Connect to the phone of this ``serial``, or to the only one that there is; ``label`` is what results call it.

    It measures by the ``runners`` made for phones, else by a Python that its shell finds or that is named; with neither
    it can be described, and says what it lacks when it is to measure.

    Raises:
        MissingDependencyError: there is no adb here.
        DeviceError: there is no such phone, several, or it cannot be used.
        OptionError: two ways to measure there are asked for.
    """
    if options.runners and options.python is not None:
        raise OptionError(expected="one way to measure on a phone: `runner` or `python`", found="both")
    adb = Adb.found()
    phone = Phone(adb, chosen(adb.listed(), serial))
    if options.runners:
        return NativePhone(label, phone, options.runners)
    python = found_python(phone, options.python)
    return NativePhone(label, phone, ()) if python is None else PythonPhone(label, phone, python_command(python))


def found_phones() -> list[str]:
    """Return the serials of the phones that adb sees, also of those that cannot be used; none where there is no adb."""
    try:
        return [phone.serial for phone in Adb.found().listed() if SERIAL.fullmatch(phone.serial)]
    except (MissingDependencyError, DeviceError):
        return []


Open = Callable[[DeviceName, DeviceOptions], Device]
OPENERS: dict[str, Open] = {
    LOCAL: lambda name, options: LocalDevice(),  # noqa: ARG005 - there is one, under its own name
    SSH: lambda name, options: SshDevice(name, options.label, options.python),
    ADB: lambda name, options: open_phone(options.label or name.text, name.part, options),
}


def open_device(name: DeviceName, options: DeviceOptions | None = None, progress: Progress = silent) -> Device:
    """Connect to a device, and set it up if that is wanted.

    Raises:
        DeviceError: it cannot be reached or used; its kind and exit code say why.
        OptionError: it is not to be connected to.
    """
    options = options or DeviceOptions()
    if name.kind == EMULATED:
        raise OptionError(
            expected="a device that takes time",
            found=(
                f"'{name.text}': an emulated core is counted on: 'dcd-deploy bench MODEL' with `device` {name.text}"
            ),
        )
    if name.kind not in OPENERS:
        raise UnknownNameError("kind of device", name.kind, OPENERS)
    with progress("connect"):
        device = OPENERS[name.kind](name, options)
    try:
        if options.setup:
            device.setup(progress)
    except BaseException:
        device.close()
        raise
    return device


def found_devices() -> list[DeviceName]:
    """Return the devices that can be found without knowing their names."""
    return [parse_device(LOCAL), *(parse_device(f"{ADB}:{serial}") for serial in found_phones())]
