"""Layers of several groups whose taps or inputs are scaled: a product of matrices for each group, on one sample.

    y (g, K/g, P) = W(x) (g, K/g, R) · patches (g, R, P) + b(x),  R = C/g · taps

The fully connected operator has one matrix for all channels, and a convolution by constant weights none that is scaled
by taps. This order is right, and quick in neither.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from dcd_deploy.dynamic.operator import DynamicOperator
from dcd_deploy.dynamic.shape import LOW_RANK, MapSize, OperatorShape
from dcd_deploy.lowering.assemble import terms as costs
from dcd_deploy.lowering.assemble.activations import with_relu6
from dcd_deploy.lowering.assemble.windows import without_copies
from dcd_deploy.lowering.channels_first.parts import Patches
from dcd_deploy.lowering.lowering import ONE, Cost, Lowering
from dcd_deploy.lowering.xnnpack.kernel import ComputedBias, XnnpackRows, for_rows
from dcd_deploy.lowering.xnnpack.parts import PooledAttention


class XnnpackProducts(Lowering):
    """A dynamic convolution of one sample; (1, C, H, W) to (1, K, H', W')."""

    name: ClassVar[str] = "products"
    batches: ClassVar[str] = ONE

    def __init__(self, operator: DynamicOperator, size: MapSize) -> None:
        super().__init__(operator, size)
        by_rows = without_copies(with_relu6(operator), size)
        operator = for_rows(by_rows)
        g = self.geometry = operator.geometry
        self.attention, self.kernel = PooledAttention(operator, size), XnnpackRows(operator)
        self.bias, self.patches = ComputedBias(by_rows), Patches(g)
        self.sides = (size.out_height, size.out_width)

    def forward(self, x: Tensor, operand: Tensor | None = None) -> Tensor:
        g = self.geometry
        heads, stages, phi = self.attention(x if operand is None else operand)
        inner = None if phi is None else self.kernel.inner(phi)
        kernel = self.kernel(heads, inner).reshape(g.groups, g.K // g.groups, -1)
        patches = self.patches(x).reshape(g.groups, kernel.shape[2], math.prod(self.sides))
        y = torch.bmm(kernel, patches).reshape(1, g.K, *self.sides)
        bias = self.bias(heads, stages, inner)
        return y if bias is None else y + bias.reshape(1, g.K, 1, 1)

    @classmethod
    def refusal(cls, shape: OperatorShape) -> str | None:
        """Return why that is not the layer."""
        if shape.geometry.vector:
            return "it has no patches"
        if LOW_RANK in shape.terms and shape.geometry.groups > 1:
            return "its low rank reads all channels, not those of a group"
        return None

    @classmethod
    def suits(cls, shape: OperatorShape) -> bool:
        """Where no other order computes the layer, as nobody asks then."""
        del shape
        return False

    @classmethod
    def cost(cls, shape: OperatorShape, size: MapSize, *, activated: bool) -> Cost:
        """Return what a layer costs; its activation nothing."""
        del activated
        g = shape.geometry
        patches = g.C * g.taps * size.outputs
        around = Cost(patches * g.taps, 0, g.C * size.inputs + 2 * patches + 2 * g.K * size.outputs, 0, 0, 4)
        return costs.added(costs.kernel(shape, size, shape.kernel_size, g.K), around)
