"""The kernel order: W(x) * x + b(x), one kernel for each sample.

For one sample that is a convolution with computed weights; of a k×k layer with a low-rank term, Q is laid into the
middle of zeros, so that one product makes the whole kernel. In a batch it is a product of matrices, of each sample's
kernel and the patches of its map. A low-rank term alone needs no patches there: its tap is applied sample by sample,
and W0 stays a constant convolution scaled by λ.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from dcd_deploy.dynamic.operator import SCALE, DynamicOperator, LowRank
from dcd_deploy.dynamic.shape import MIXTURE, MapSize, OperatorShape, shape_of
from dcd_deploy.lowering.assemble import terms as costs
from dcd_deploy.lowering.assemble.activations import plain
from dcd_deploy.lowering.assemble.attention import Bias, HeadValues
from dcd_deploy.lowering.assemble.kernel import Kernel
from dcd_deploy.lowering.assemble.terms import separable
from dcd_deploy.lowering.assemble.windows import without_copies
from dcd_deploy.lowering.channels_first.attention import ChannelsFirstAttention
from dcd_deploy.lowering.channels_first.parts import (
    ChannelsFirstApplied,
    Patches,
    depthwise_in_plain,
    every_pixel,
    per_sample_conv1x1,
    total,
)
from dcd_deploy.lowering.layers import frozen, linear_of
from dcd_deploy.lowering.lowering import Cost, Lowering


class ChannelsFirstKernel(Lowering):
    """A dynamic convolution in the kernel order; (N, C, H, W) to (N, K, H', W'), or (N, C) to (N, K)."""

    name: ClassVar[str] = "kernel"

    def __init__(self, operator: DynamicOperator, size: MapSize) -> None:
        super().__init__(operator, size)
        operator = without_copies(plain(operator), size)
        g = self.geometry = operator.geometry
        self.size = size
        self.attention = ChannelsFirstAttention(operator, size)
        self.kernel = Kernel(operator)
        self.shift = Bias(operator, linear_of)
        self.applied = ChannelsFirstApplied(g)
        unpadded = g.taps == 1 and g.padding == (0, 0)
        self.term_by_term = not unpadded and not g.vector and separable(shape_of(operator))
        low_rank = operator.term(LowRank)
        self.query = frozen(low_rank.query) if self.term_by_term and low_rank is not None else None
        self.patches = None if unpadded or g.vector or self.term_by_term else Patches(g)

    def forward(self, x: Tensor, operand: Tensor | None = None) -> Tensor:
        g = self.geometry
        values = self.attention(x if operand is None else operand)
        bias: Tensor | None = self.shift(values.heads, values.stages)
        if x.shape[0] != 1 and self.term_by_term:
            return self._term_by_term(x, values, bias)
        kernel = self.kernel(values.heads, values.phi)
        if g.vector:
            product = torch.matmul(kernel, x[:, :, None]).squeeze(2)
            return product if bias is None else product + bias
        if x.shape[0] == 1:
            weight = kernel.view(g.K, g.C // g.groups, *g.kernel)
            y: Tensor = self.applied(x, weight, None if bias is None else bias.view(-1))
            return y
        patches = every_pixel(x, g, self.size) if self.patches is None else self.patches(x)
        by_sample: Tensor = self.applied(patches, kernel, bias, by_sample=True)
        return by_sample

    def _term_by_term(self, x: Tensor, values: HeadValues, bias: Tensor | None) -> Tensor:
        g, summands, dynamic = self.geometry, [], None
        if self.query is not None and values.phi is not None:
            dynamic = torch.matmul(torch.matmul(self.kernel.project, values.phi), self.query)  # (N, K, C)
        if self.kernel.static is not None:
            static = self.kernel.static.view(g.K, g.C // g.groups, *g.kernel)
            summands.append(self.applied(x, static, None) * values.heads[SCALE][:, :, None, None])
        if dynamic is not None:
            summands.append(per_sample_conv1x1(every_pixel(x, g, self.size), dynamic, bias))
        elif bias is not None:
            summands.append(bias.view(-1, g.K, 1, 1))
        return total(summands)

    @classmethod
    def suits(cls, shape: OperatorShape) -> bool:
        """On a vector the decomposition's branches are cheaper, but a mixture has no cheaper order."""
        return not shape.geometry.vector or MIXTURE in shape.terms

    @classmethod
    def cost(cls, shape: OperatorShape, size: MapSize, *, activated: bool) -> Cost:
        """Return what a layer costs."""
        g, kernel = shape.geometry, shape.kernel_size
        x, y = g.C * size.inputs, g.K * size.outputs
        arrives_plain = g.pointwise and activated  # what such a layer follows is a sum or another plain layer
        inner, outer = sorted((g.C // g.groups * g.taps, g.K))  # P Φ Q is made from its smaller side
        low_rank = inner * shape.latent**2 + shape.latent * kernel
        weights = shape.latent * (3 * inner + outer)
        around = Cost(0, low_rank, x, x * (not arrives_plain) + y * activated, weights, 2)
        return costs.added(costs.kernel(shape, size, kernel, g.K), around, depthwise_in_plain(shape, size))
