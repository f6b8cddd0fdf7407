"""The registry: families of networks whose checkpoints need no Python file, as values, and their networks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from dcd_deploy.models import mobilenetv2, resnet
from dcd_deploy.models.infer import (
    ARCHS,
    Shapes,
    SpecOverrides,
    check_arch,
    guess_mobilenetv2,
    guess_resnet,
    mobilenet_features,
    resnet_features,
)
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.network_names import MOBILENETV2, RESNET, FamilyNames, names_of


@dataclass(frozen=True)
class Family:
    """One family: how its networks are called, built, and recognised by their tensors.

    ``anchors`` are keys that all have; ``roots`` the modules at the top, but for the classifier. ``parts`` are what its
    dynamic layers call Q and P. ``names`` also holds what was published of it.
    """

    names: FamilyNames
    build: Callable[[NetworkSpec], nn.Module]
    guess: Callable[[str | None, Shapes, SpecOverrides], NetworkSpec]
    features: Callable[[Shapes], int | None]
    usual_strides: Callable[[NetworkSpec], tuple[int, ...]]
    anchors: tuple[str, ...]
    roots: tuple[str, ...]
    parts: tuple[str, str]
    has_stem_pool: bool = False


FAMILIES = (
    Family(
        MOBILENETV2,
        mobilenetv2.MobileNetV2,
        guess_mobilenetv2,
        mobilenet_features,
        lambda _: (mobilenetv2.STEM_STRIDE, *mobilenetv2.STRIDES),
        anchors=("features.0.0.weight", "features.1.conv.0.weight"),
        roots=("features", "conv"),
        parts=("conv_q", "conv_p"),
    ),
    Family(
        RESNET,
        resnet.ResNet,
        guess_resnet,
        resnet_features,
        resnet.usual_strides,
        anchors=("conv1.weight", "layer1.0.bn1.weight"),
        roots=("conv1", "bn1", "layer1", "layer2", "layer3", "layer4"),
        parts=("q", "p"),
        has_stem_pool=True,
    ),
)


def family_of(arch: str) -> Family:
    """Return the family of a known architecture."""
    return next(family for family in FAMILIES if family.names == names_of(arch))


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
