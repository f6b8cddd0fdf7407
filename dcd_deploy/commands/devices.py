"""Devices to measure on: what there is, and what emulation needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dcd_deploy.commands.arguments import Fleet, Setup
from dcd_deploy.commands.options import DEVICES, Argument, Option, StrPath
from dcd_deploy.errors import OptionError
from dcd_deploy.progress import Progress, silent

if TYPE_CHECKING:
    from dcd_deploy.devices.listing import DeviceList
    from dcd_deploy.devices.opening import DeviceOptions
    from dcd_deploy.devices.target import DeviceTarget
    from dcd_deploy.emulation.setup import EmulationSetup


def devices(
    *names: Annotated[
        str,
        Argument("Devices: local, ssh://[user@]host[:port], adb[:serial], arm64-emulated[:core].", default="all"),
    ],
    fleet: Fleet = None,
    setup: Setup = False,
    clean: Annotated[bool, Option("Remove all that this program ever left there.", DEVICES)] = False,
    progress: Progress = silent,
) -> DeviceList:
    """Say what devices are: cores, clocks, memory, system, runtimes, temperature.

    They are those named, those of a ``fleet`` file, or without either all that can be found.
    With ``setup`` an environment is made on each that has what measuring needs; with ``clean`` all is removed that
    this program ever left there. Of emulated cores it is said whether ``setup_emulated`` was done.

    Raises:
        OptionError: an emulated core is to be set up or cleaned.
        DeviceError: the only device asked for cannot be reached or used; of several each says so for itself.
    """
    from dcd_deploy.devices.listing import list_devices
    from dcd_deploy.devices.opening import DeviceOptions, found_devices
    from dcd_deploy.devices.target import named_targets
    from dcd_deploy.emulation.cores import CORES, EMULATED

    if setup and clean:
        raise OptionError(expected="`setup` or `clean`", found="both")
    asked = device_targets(names, fleet, DeviceOptions(setup=setup))
    if (setup or clean) and any(target.name.kind == EMULATED for target in asked):
        raise OptionError(expected="`setup` and `clean` with devices", found="an emulated core: see setup-emulated")
    if asked:
        return list_devices(asked, clean=clean, progress=progress)
    found = [name.text for name in found_devices()] + [f"{EMULATED}:{core}" for core in CORES] * (not clean)
    return list_devices(named_targets(found), clean=clean, found=True, progress=progress)


def setup_emulated(
    *,
    install: Annotated[bool, Option("Install Debian's packages that are missing, as root.")] = False,
    progress: Progress = silent,
) -> EmulationSetup:
    """Make, once, what the devices arm64-emulated:CORE need.

    It is kept in the user's cache folder. Debian's packages that are missing
    are named, or installed if ``install`` (as root).

    Raises:
        DeviceLackError: something is missing and cannot be had.
    """
    from dcd_deploy.emulation.setup import set_up_emulation

    return set_up_emulation(install=install, progress=progress)


def device_targets(
    device: str | Sequence[str], fleet: StrPath | None, options: DeviceOptions | None = None
) -> list[DeviceTarget]:
    """Return the devices named one by one and in a file."""
    from dcd_deploy.devices.target import check_labels, named_targets, read_fleet

    found = named_targets([device] if isinstance(device, str) else device, options)
    found += [] if fleet is None else read_fleet(Path(fleet))
    check_labels(found)
    return found
