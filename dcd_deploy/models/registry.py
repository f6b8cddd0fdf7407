"""The networks by name."""

from __future__ import annotations

from torch import nn

from dcd_deploy.models.archs import ARCHS, check_arch
from dcd_deploy.models.families import family_of
from dcd_deploy.models.spec import NetworkSpec

__all__ = ("ARCHS", "build", "check_arch")


def build(spec: NetworkSpec) -> nn.Module:
    """Return the network of ``spec`` with fresh weights, in train form.

    Raises:
        UnknownNameError: ``spec.arch`` is not one of ``ARCHS``.
    """
    check_arch(spec.arch)
    network = family_of(spec.arch).build(spec)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eps = spec.bn_eps
    return network
