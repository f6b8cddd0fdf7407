"""The branch order with the kernel of the low-rank branch computed: λ ⊙ (W0 * x + b0) + (P Φ) (Q x + t1) + bias.

Both summands are convolutions that int8 has: the first by constant weights, whose scales are multiplied by λ, which
costs nothing; the second by the small kernel P Φ (K, L), computed in float32. In float32 the branch order is quicker,
where P is a constant.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import SCALE, DynamicOperator, LowRank, RowScaled
from dcd_deploy.dynamic.shape import MapSize, OperatorShape
from dcd_deploy.lowering.assemble import terms as costs
from dcd_deploy.lowering.assemble.activations import plain
from dcd_deploy.lowering.assemble.attention import constant_bias
from dcd_deploy.lowering.channels_first.attention import ChannelsFirstAttention
from dcd_deploy.lowering.channels_first.parts import cropped, per_sample_conv1x1, static_conv, total
from dcd_deploy.lowering.layers import conv_of, frozen
from dcd_deploy.lowering.lowering import Cost, Lowering


class FactoredLowering(Lowering):
    """A decomposed convolution as the sum of two; (N, C, H, W) to (N, K, H', W')."""

    name: ClassVar[str] = "factored"
    only_for: ClassVar[tuple[str, ...] | None] = ()  # targets in int8 add it (``targets.in_int8``)

    def __init__(self, operator: DynamicOperator, size: MapSize) -> None:
        super().__init__(operator, size)
        operator = plain(operator)
        self.geometry, self.size = operator.geometry, size
        row_scaled, low_rank = operator.term(RowScaled), operator.term(LowRank)
        assert row_scaled is not None
        assert low_rank is not None
        self.attention = ChannelsFirstAttention(operator, size)
        self.scaled = static_conv(row_scaled, self.geometry)
        self.query = conv_of(low_rank.query[:, :, None, None], low_rank.query_shift, self.geometry.stride)
        self.project = frozen(low_rank.project)
        bias = constant_bias(operator)
        self.bias = None if bias is None else frozen(bias)
        self.applied = Product()

    def forward(self, x: Tensor, operand: Tensor | None = None) -> Tensor:
        values = self.attention(x if operand is None else operand)
        assert values.phi is not None
        static = self.scaled(x) * values.heads[SCALE][:, :, None, None]
        kernel = torch.matmul(self.project, values.phi)
        dynamic: Tensor = self.applied(cropped(self.query(x), self.size), kernel, self.bias)
        return total([static, dynamic])

    @classmethod
    def refusal(cls, shape: OperatorShape) -> str | None:
        """It is one of a decomposition of maps."""
        if not costs.decomposed(shape) or shape.geometry.vector:
            return "it is no sum of λ ⊙ W0 and P Φ Q on a map"
        return costs.branch_refusal(shape)

    @classmethod
    def cost(cls, shape: OperatorShape, size: MapSize, *, activated: bool) -> Cost:
        """Return what a layer costs."""
        del activated  # the sum is cut to its range anyway
        g, latent = shape.geometry, shape.latent
        y, u = g.K * size.outputs, latent * size.outputs
        macs = shape.kernel_size * size.outputs + g.C * u
        own = Cost(macs, g.K * latent**2 + g.K * u, 4 * y + 2 * u, 0, shape.kernel_size + 2 * g.K * latent, 6)
        return costs.added(costs.attention(shape), own)


class Product(nn.Module):
    """Convolve each sample by its own 1×1 kernel; a module for its place in the network."""

    def forward(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        return per_sample_conv1x1(x, kernel, bias)
