"""The dynamic convolutions of a network in groups of one shape: what is measured once serves the whole group."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from dcd_deploy.models.dynamic import DynamicConv2d
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.mobilenetv2 import InvertedResidual
from dcd_deploy.models.registry import build
from dcd_deploy.models.resnet import Block
from dcd_deploy.models.sizes import MapSize, layer_sizes
from dcd_deploy.models.spec import NetworkSpec

NONE, RELU, RELU6 = ACTIVATIONS = ("none", "relu", "relu6")


@dataclass(frozen=True)
class LayerCase:
    """One shape of layer, at one map size; ``activation`` is one of ``ACTIVATIONS``."""

    geometry: LayerGeometry
    size: MapSize
    activation: str

    @property
    def activated(self) -> bool:
        """Whether an activation follows."""
        return self.activation != NONE

    @property
    def follows_sum(self) -> bool:
        """Whether the layer's input is a block's output, and not an activated layer's."""
        return self.activation == RELU6  # MobileNetV2's widening layers

    @property
    def title(self) -> str:
        """Name it for people: "24→144 on 56×56", "3×3 64→128 on 56×56 by 2"."""
        g, size = self.geometry, self.size
        kernel = f"{g.kernel}×{g.kernel} " if g.kernel > 1 else ""
        stride = f" by {g.stride}" if g.stride > 1 else ""
        return f"{kernel}{g.C}→{g.K} on {size.in_height}×{size.in_width}{stride}"


def cases_of(spec: NetworkSpec, height: int, width: int) -> dict[LayerCase, list[str]]:
    """Return the shapes of a network's dynamic convolutions, each with the names of its layers, in their order."""
    sizes = layer_sizes(spec, height, width)
    with torch.device("meta"):
        network = build(spec)
    activations = _activations(network)
    cases: dict[LayerCase, list[str]] = {}
    for name, module in network.named_modules():
        if isinstance(module, DynamicConv2d):
            case = LayerCase(module.geometry, sizes[name], activations.get(name, NONE))
            cases.setdefault(case, []).append(name)
    return cases


def _activations(network: nn.Module) -> dict[str, str]:
    """Return what follows each dynamic convolution: of a block's last one nothing, since a sum does."""
    names = {module: name for name, module in network.named_modules()}
    found: dict[str, str] = {}
    for block in network.modules():
        if isinstance(block, InvertedResidual):
            found |= {names[layer]: RELU6 for layer in list(block.conv)[:-2] if isinstance(layer, DynamicConv2d)}
        elif isinstance(block, Block):
            *first, _ = block.layers()
            found |= {names[conv]: RELU for conv, _ in first if isinstance(conv, DynamicConv2d)}
    return found
