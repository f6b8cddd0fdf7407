"""The networks by name."""

from __future__ import annotations

from torch import nn

from dcd_deploy.errors import UnknownNameError
from dcd_deploy.models.mobilenetv2 import MobileNetV2
from dcd_deploy.models.resnet import DEPTHS, ResNet
from dcd_deploy.models.spec import DYNAMIC_SUFFIX, NetworkSpec

STATIC_ARCHS: dict[str, type[MobileNetV2 | ResNet]] = {"mobilenetv2": MobileNetV2} | dict.fromkeys(DEPTHS, ResNet)
ARCHS = tuple(name + suffix for name in STATIC_ARCHS for suffix in (DYNAMIC_SUFFIX, ""))


def build(spec: NetworkSpec) -> nn.Module:
    """Return the network of ``spec`` with fresh weights, in train form.

    Raises:
        UnknownNameError: ``spec.arch`` is not one of ``ARCHS``.
    """
    check_arch(spec.arch)
    return STATIC_ARCHS[spec.twin().arch](spec)


def check_arch(arch: str) -> None:
    """Raise UnknownNameError, with the nearest known name, unless ``arch`` is known."""
    if arch not in ARCHS:
        raise UnknownNameError("architecture", arch, ARCHS)
