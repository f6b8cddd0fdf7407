"""What the lowerings for XNNPACK are made of."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.dynamic.attention import Dense
from dcd_deploy.dynamic.operator import ConvGeometry, DynamicOperator
from dcd_deploy.dynamic.shape import MapSize
from dcd_deploy.lowering.assemble.windows import without_copies
from dcd_deploy.lowering.channels_first.attention import ChannelsFirstAttention
from dcd_deploy.lowering.channels_first.parts import Patches, cropped
from dcd_deploy.lowering.layers import conv_of


def rows(x: Tensor) -> Tensor:
    """Return a map (N, C, H, W) as its pixels (N, H, W, C), as they lie in the delegate."""
    return x.permute(0, 2, 3, 1)


def as_map(x: Tensor) -> Tensor:
    """Return pixels (N, H, W, C) as a map (N, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def over_map(values: Tensor) -> Tensor:
    """Return values (N, K) or (N, 1, 1, K) in the shape in which they scale a map, as they lie in a pixel of it."""
    return as_map(values.view(len(values), 1, 1, -1))


class PooledAttention(ChannelsFirstAttention):
    """The attention by linear layers on a pooled pixel as it lies in the delegate, (N, 1, 1, values).

    Several cells are put in a row, the channels of each together. A whole map is pooled by a window as large: the
    delegate's mean is five to ten times less exact. A layer of vectors has (N, values).
    """

    def __init__(self, operator: DynamicOperator, size: MapSize) -> None:
        super().__init__(_by_cells(without_copies(operator, size)), size, by_windows=True)
        self.by_cells, self.vector = _takes_cells(operator), operator.geometry.vector

    def row(self, source: Tensor) -> Tensor:
        """Return the values that the stages see."""
        if self.pool is None or source.dim() == 2:
            return super().row(source)
        pooled: Tensor = self.pool(source)
        cells = rows(pooled) if self.by_cells or self.pool.pool == (1, 1) else pooled
        return cells.reshape(len(source), *(() if self.vector else (1, 1)), -1)


def _takes_cells(operator: DynamicOperator) -> bool:
    """Whether the pooled values may come in any order, since one layer with weights of its own takes them all."""
    attention = operator.attention
    return attention.pool is not None and bool(attention.stages) and isinstance(attention.stages[0], Dense)


def _by_cells(operator: DynamicOperator) -> DynamicOperator:
    """Return the operator with the weights of its first stage as its values come: cell by cell, as they lie."""
    attention = operator.attention
    if not _takes_cells(operator):
        return operator
    first, cells = attention.stages[0], math.prod(attention.pool or ())
    weight = first.weight.reshape(len(first.weight), -1, cells).transpose(1, 2).flatten(1)
    stages = (replace(first, weight=weight), *attention.stages[1:])
    return replace(operator, attention=replace(attention, stages=stages))


class XnnpackApplied(nn.Module):
    """Convolve a map (1, C, H, W) by a computed 1×1 kernel (K, C), add a bias (K), and activate.

    It is a module so that its place in the network tells it from the operators that compute the kernel.
    """

    def forward(self, x: Tensor, kernel: Tensor, bias: Tensor | None, activation: nn.Module) -> Tensor:
        return as_map(activation(F.linear(rows(x), kernel, bias)))


class EveryPixel(nn.Module):
    """The pixels of a map that a 1×1 convolution of the layer's stride reads, as many as the output has.

    It is a depthwise convolution by one, since the delegate takes no slice with a stride.
    """

    def __init__(self, g: ConvGeometry, size: MapSize) -> None:
        super().__init__()
        self.size, ones = size, torch.ones(g.C, 1, 1, 1, dtype=torch.float64)
        self.ones = nn.Identity() if g.stride == (1, 1) else conv_of(ones, None, g.stride, 0, g.C)

    def forward(self, x: Tensor) -> Tensor:
        return cropped(self.ones(x), self.size)


def pixels(g: ConvGeometry, size: MapSize) -> nn.Module:
    """Return what lays under each output of a layer the values that it is made of, as channels."""
    return EveryPixel(g, size) if g.pointwise else Patches(g)
