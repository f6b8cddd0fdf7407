"""The architectures by name."""

from __future__ import annotations

from dcd_deploy.errors import UnknownNameError
from dcd_deploy.models.resnet import DEPTHS
from dcd_deploy.network_names import DYNAMIC_SUFFIX, MOBILENETV2

STATIC_ARCHS = (MOBILENETV2.name, *DEPTHS)
ARCHS = tuple(name + suffix for name in STATIC_ARCHS for suffix in (DYNAMIC_SUFFIX, ""))


def check_arch(arch: str) -> None:
    """Raise UnknownNameError, with the nearest known name, unless ``arch`` is known."""
    if arch not in ARCHS:
        raise UnknownNameError("architecture", arch, ARCHS)
