"""stub"""

from dcd_deploy.devices.adb.phone import Phone
from dcd_deploy.devices.device import Device


def portable_phone(label: str, phone: Phone) -> Device:
    """Stub."""
    raise NotImplementedError
