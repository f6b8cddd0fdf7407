"""From a device's name to the device, connected; and what devices there are to be found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.benchmarks.process import LOCAL
from dcd_deploy.devices.adb.opening import Means, found_phones, open_phone
from dcd_deploy.devices.device import Device, LocalDevice
from dcd_deploy.devices.names import ADB, SSH, DeviceName, parse_device
from dcd_deploy.devices.ssh import SshDevice
from dcd_deploy.emulation.cores import EMULATED
from dcd_deploy.errors import OptionError, UnknownNameError
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


Open = Callable[[DeviceName, DeviceOptions], Device]
OPENERS: dict[str, Open] = {
    LOCAL: lambda name, options: LocalDevice(),  # noqa: ARG005 - there is one, under its own name
    SSH: lambda name, options: SshDevice(name, options.label, options.python),
    ADB: lambda name, options: open_phone(
        options.label or name.text, name.part, Means(options.runners, options.python)
    ),
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
