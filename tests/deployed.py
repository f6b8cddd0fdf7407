"""Deploy forms for tests: of networks that take a picture, and of single layers, as modules on maps (N, C, H, W)."""

from __future__ import annotations

import torch
from lowering_cases import OnChannelsFirst, published
from torch import Tensor, nn

from dcd_deploy.artifacts import OUTPUT
from dcd_deploy.dynamic.folds import without_gains
from dcd_deploy.dynamic.operator import DynamicOperator
from dcd_deploy.dynamic.shape import MapSize, OperatorShape, shape_of
from dcd_deploy.lowering.capture import Captured, capture
from dcd_deploy.lowering.channels_first import CHANNELS_FIRST
from dcd_deploy.lowering.channels_last import CHANNELS_LAST
from dcd_deploy.lowering.channels_last.operators import to_channels_first, to_channels_last
from dcd_deploy.lowering.deploy import DeployNetwork, lower
from dcd_deploy.lowering.lowering import ONE
from dcd_deploy.lowering.network import network_of
from dcd_deploy.lowering.passes.substitute import AUTO, Choice
from dcd_deploy.lowering.targets import PORTABLE_ONNX, Target
from dcd_deploy.lowering.xnnpack import XNNPACK
from dcd_deploy.models.dynamic import ResNetDynamicConv
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.trained import random_example

BACKENDS = {backend.name: backend for backend in (CHANNELS_FIRST, CHANNELS_LAST, XNNPACK)}
LOWERINGS = [f"{backend} {name}" for backend in BACKENDS for name in BACKENDS[backend].lowerings]


def captured(network: nn.Module, height: int, width: int, channels: int = 3) -> Captured:
    """Capture a network that takes a picture (N, channels, height, width)."""
    return capture(network_of(network, random_example((channels, height, width)), OUTPUT))


def deployed(
    network: nn.Module, height: int, width: int, choice: Choice = AUTO, target: Target = PORTABLE_ONNX
) -> DeployNetwork:
    """Return the deploy form of a network that takes a picture (N, 3, height, width)."""
    return lower(captured(network, height, width), target, choice)


def sized(x: Tensor, y: Tensor) -> MapSize:
    """Return the size of a layer from its input and output."""
    return MapSize(1, 1, 1, 1) if x.dim() == 2 else MapSize(*x.shape[2:], *y.shape[2:])


def lowered(operator: DynamicOperator, lowering: str, size: MapSize) -> nn.Module | None:
    """Return an operator in a lowering, "backend name", on maps (N, C, H, W); None where that refuses it."""
    backend, _, name = lowering.partition(" ")
    kind = BACKENDS[backend].lowerings[name]
    if kind.refusal(shape_of(operator)) is not None:
        return None
    made: nn.Module = kind(without_gains(operator), size)
    made = OneByOne(made) if kind.batches == ONE else made
    return OnChannelsFirst(made) if backend == CHANNELS_LAST.name else made


def published_shape(geometry: LayerGeometry) -> OperatorShape:
    """Return the sizes of a published layer's operator."""
    with torch.device("meta"):
        return shape_of(published(ResNetDynamicConv(geometry)))


class OneByOne(nn.Module):
    """A lowering of one sample, given several."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, operand: Tensor | None = None) -> Tensor:
        rows = [slice(i, i + 1) for i in range(len(x))]
        return torch.cat([self.module(x[row], None if operand is None else operand[row]) for row in rows])


class OnChannelsLast(nn.Module):
    """A module on maps (N, H, W, C) that is given, and gives, maps (N, C, H, W)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.module(to_channels_last(x))
        return to_channels_first(y) if y.dim() == 4 else y
