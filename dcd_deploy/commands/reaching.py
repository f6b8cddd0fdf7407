"""Devices to measure on: what there is, and what emulation needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcd_deploy.commands.arguments import StrPath
from dcd_deploy.commands.measuring import device_targets
from dcd_deploy.errors import OptionError
from dcd_deploy.progress import Progress, silent

if TYPE_CHECKING:
    from dcd_deploy.devices.emulated.setup import EmulationSetup
    from dcd_deploy.devices.listing import DeviceList


def devices(
    *names: str,
    fleet: StrPath | None = None,
    setup: bool = False,
    clean: bool = False,
    progress: Progress = silent,
) -> DeviceList:
    """Say what devices are: those named, those of a ``fleet`` file, or without either all that can be found.

    With ``setup`` an environment is made on each that has what measuring needs; with ``clean`` all is removed that
    this program ever left there. Of emulated cores it is said whether ``setup_emulated`` was done.

    Raises:
        OptionError: an emulated core is to be set up or cleaned.
        DeviceError: the only device asked for cannot be reached or used; of several each says so for itself.
    """
    from dcd_deploy.devices.emulated.cores import CORES
    from dcd_deploy.devices.listing import list_devices
    from dcd_deploy.devices.names import EMULATED
    from dcd_deploy.devices.opening import DeviceOptions, found_devices
    from dcd_deploy.devices.target import named_targets

    if setup and clean:
        raise OptionError("expected --setup or --clean, found both")
    asked = device_targets(names, fleet, DeviceOptions(setup=setup))
    if (setup or clean) and any(target.name.kind == EMULATED for target in asked):
        raise OptionError("expected --setup and --clean with devices, found an emulated core: see setup-emulated")
    if asked:
        return list_devices(asked, clean=clean, progress=progress)
    found = [name.text for name in found_devices()] + [f"{EMULATED}:{core}" for core in CORES] * (not clean)
    return list_devices(named_targets(found), clean=clean, found=True, progress=progress)


def setup_emulated(*, install: bool = False, progress: Progress = silent) -> EmulationSetup:
    """Make what the devices "arm64-emulated:CORE" need, once, in the user's cache folder.

    Debian's packages that are missing are named, or installed if ``install`` (as root).

    Raises:
        DeviceLackError: something is missing and cannot be had.
    """
    from dcd_deploy.devices.emulated.setup import set_up_emulation

    return set_up_emulation(install=install, progress=progress)
